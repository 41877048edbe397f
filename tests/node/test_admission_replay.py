"""Messages that come again, around the start, or in any form at all."""

from __future__ import annotations

import base64
import json

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.filter import Filter
from backplane.node.outcome import Counters, Dropped, Outcome, Refused, Wait
from backplane.security.replay import ReplayMemory
from tests.node.admitting import BROADCAST, AdmissionCase
from tests.node.messages import IDENTITY, NOW, request


class ReplayTests(AdmissionCase):
    """One document acts once."""

    def test_again(self) -> None:
        """The same request again is dropped in silence, a read too, until it is too old."""
        for action in ("ping", "pause"):
            payload = request(action=action)
            self.accepted(payload)
            for later in (0.0, 1.0, 58.9):
                self.now = NOW + 0.5 + later
                outcome = self.dropped("repeated", payload)
                self.assertIn("again", outcome.detail)
            self.now = NOW + 60
            self.dropped("expired", payload)
            self.now = NOW + 0.5

    def test_other_wrapping(self) -> None:
        """What was not signed makes no new request: reply-to, hops, line ends in base64."""
        payload = request()
        self.accepted(payload)
        document = json.loads(payload)
        for changed in (
            {**document, "extra": 1},
            {**document, "headers": {"reply-to": "x.reply.y"}},
            {**document, "data": document["data"][:40] + "\n" + document["data"][40:]},
        ):
            self.dropped("repeated", json.dumps(changed).encode())
        inner = json.loads(base64.b64decode(document["data"]))
        inner = {**inner, "signature": "other", "pubcert": "other"}
        document["data"] = base64.b64encode(json.dumps(inner, indent=1).encode()).decode()
        self.dropped("repeated", json.dumps(document).encode())

    def test_same_id(self) -> None:
        """Batches use one request id for several documents; each acts."""
        for made in (int(NOW), int(NOW) - 1):
            self.accepted(request(request_id="a" * 32, time=made))

    def test_memory_full(self) -> None:
        """With no room, changes are refused with a text and reads pass."""
        self.replay = ReplayMemory(max_total=10, max_per_caller=2)
        self.admission = self.make()
        for _ in range(2):
            self.accepted(request())
        outcome = self.admit(request(action="pause"))
        assert isinstance(outcome, Refused)
        self.assertEqual(outcome.reason, "memory_full")
        self.assertIn("try again", outcome.message)
        self.assertEqual(self.admission.counters.refused["memory_full"], 1)
        self.accepted(request())
        self.assertEqual(self.replay.unremembered, 1)
        self.accepted(request(caller="choria=1stline.choria"))

    def test_clock_set_back(self) -> None:
        """A change from a time that was forgotten is refused with a text."""
        self.accepted(request(action="pause"))
        self.now = NOW + 3000
        self.accepted(request(time=int(NOW) + 3000))
        self.now = NOW + 10
        outcome = self.admit(request(action="pause", ttl=40))
        assert isinstance(outcome, Refused)
        self.assertEqual(outcome.reason, "clock_set_back")


class StartTests(AdmissionCase):
    """Changes that an earlier process of this service may have made already."""

    def setUp(self) -> None:
        super().setUp()
        self.admission = self.make(started=NOW + 0.25)

    def test_before(self) -> None:
        """A change made before the start is refused with a reason; a read passes."""
        made = int(NOW) - 1
        outcome = self.admit(request(action="pause", time=made))
        assert isinstance(outcome, Refused)
        self.assertEqual(outcome.reason, "before_start")
        self.assertIn("send it again", outcome.message)
        self.assertEqual(self.admission.counters.refused, {"before_start": 1})
        self.accepted(request(time=made))

    def test_that_second(self) -> None:
        """A change of the start's own second waits until it is over, then acts, once."""
        payload = request(action="pause")
        self.assertEqual(self.admit(payload), Wait(NOW + 1))
        self.assertEqual(self.admission.counters.total, 0)
        self.accepted(request())
        self.now = NOW + 1
        self.accepted(payload)
        self.dropped("repeated", payload)

    def test_afterwards(self) -> None:
        """A change of the next second acts at once, even if the caller's clock is ahead."""
        self.accepted(request(action="pause", time=int(NOW) + 1))

    def test_clock_set_back_after_the_start(self) -> None:
        """A clock that was wrong at the start does not keep changes out for hours."""
        self.admission = self.make(started=NOW + 7200)
        self.assertEqual(self.admit(request(action="pause")), Wait(NOW + 1))
        self.now = NOW + 1
        self.accepted(request(action="pause"))


class CounterTests(SynchronousTestCase):
    """The counters that ``daemon_stats`` shows, with Choria's meanings."""

    def test_meanings(self) -> None:
        counters = Counters()
        for reason in ("filtered", "expired", "repeated", "bad_field"):
            counters.count(Dropped(reason, ""))
        counters.count(Wait(1))
        self.assertEqual(
            (
                counters.total,
                counters.filtered,
                counters.ttlexpired,
                counters.passed,
                counters.unvalidated,
            ),
            (4, 1, 1, 1, 1),
        )
        self.assertEqual(counters.dropped.total(), 4)


class HostileTests(AdmissionCase):
    """Whatever arrives, an outcome comes of it."""

    def look(self, payload: bytes, subject: str = BROADCAST) -> Outcome:
        outcome = self.make().admit(payload, subject, self.now)
        if isinstance(outcome, Dropped):
            self.assertRegex(outcome.reason, r"\A[a-z0-9_]+\Z")
        return outcome

    @given(st.binary(max_size=200), st.text(max_size=40))
    @example(b"\xef\xbb\xbf{}", "")
    @example(b"{" * 100_000, "")
    def test_bytes(self, payload: bytes, subject: str) -> None:
        """Bytes of any kind are dropped for a reason with a name; nothing is raised."""
        self.assertIsInstance(self.look(payload, subject), Dropped)

    _json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=8,
    )

    @given(
        st.sampled_from(["transport", "headers", "secure", "request", "envelope", "filter"]),
        st.data(),
    )
    def test_documents_with_a_hole(self, layer: str, data: st.DataObject) -> None:
        """Any value in any field of any layer gives an outcome; nothing is raised."""
        transport = json.loads(request(filter=Filter(identity=(IDENTITY,))))
        secure = json.loads(base64.b64decode(transport["data"]))
        inner = json.loads(secure["message"])
        place = {
            "transport": transport,
            "headers": transport["headers"],
            "secure": secure,
            "request": inner,
            "envelope": inner["envelope"],
            "filter": inner["envelope"]["filter"],
        }[layer]
        key = data.draw(st.sampled_from(sorted(place)))
        place[key] = data.draw(self._json)
        if not (layer == "secure" and key == "message"):
            secure["message"] = json.dumps(inner)
        if not (layer == "transport" and key == "data"):
            transport["data"] = base64.b64encode(json.dumps(secure).encode()).decode()
        self.look(json.dumps(transport).encode())

    @given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
    def test_texts(self, caller: str, body: str, expression: str) -> None:
        """Any text as caller, body and expression gives an outcome."""
        self.look(
            request(
                caller=caller,
                body=body,
                filter=Filter(compound=(({"expr": expression},),)),
            )
        )
