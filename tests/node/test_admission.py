"""Which messages a service acts upon, and in which order it looks at them."""

from __future__ import annotations

import base64
import json
from typing import Any

from backplane.choria.filter import FactFilter, Filter
from backplane.node.admission import MAX_PAYLOAD, MAX_TTL, MIN_TTL
from backplane.node.outcome import Accepted, Dropped
from backplane.security.roles import Role
from tests.node.admitting import BROADCAST, ELSEWHERE, AdmissionCase
from tests.node.messages import COLLECTIVE, IDENTITY, NOW, REPLY_TO, request


class OrderTests(AdmissionCase):
    """A message that is wrong in many ways is dropped for the first of them in the order."""

    def test_order(self) -> None:
        """Mending one mistake after the other shows the next one, in the documented order."""
        self.seen.unverified = True
        self.admission = self.make(hidden=True)
        wrong: dict[str, Any] = {
            "reply_to": "$SYS.REQ.SERVER.PING",
            "caller": "choria=evil choria=sre.choria",
            "ttl": MAX_TTL + 1,
            "time": int(NOW) - 10_000,
            "collective": "other_backplane",
            "agent": "unknown",
            "filter": Filter(identity=("other",), fact=ELSEWHERE.fact),
        }

        def mend(reason: str, **fields: Any) -> None:
            payload = request(**wrong)
            self.dropped(reason, payload)
            wrong.update(fields)

        self.dropped("too_large", request(**wrong) + b" " * MAX_PAYLOAD)
        self.dropped("not_json", request(**wrong)[:-1])
        mend("bad_reply_to", reply_to=REPLY_TO)
        mend("bad_callerid", caller="choria=nobody.choria")
        mend("ttl_too_long", ttl=60)
        mend("expired", time=int(NOW))
        mend("other_collective", collective=COLLECTIVE)
        mend("unknown_agent", agent="backplane")
        mend("filtered", filter=ELSEWHERE)
        # Up to here nothing of the caller's was looked at, and nothing of ours shown.
        self.assertEqual(set(self.seen.asked), {"agents"})
        mend("bad_signature")
        self.assertEqual(set(self.seen.asked), {"agents", "verify"})
        self.seen.unverified = False
        mend("hidden", caller="choria=sre.choria")
        self.assertEqual(set(self.seen.asked), {"agents", "verify"})
        mend("filtered", filter=Filter())
        self.assertEqual(len(self.replay), 0)
        self.assertIsInstance(self.admit(request(**wrong)), Accepted)
        self.assertEqual(len(self.replay), 1)

    def test_nothing_is_remembered_of_strangers(self) -> None:
        """Whoever is dropped before his signature was checked leaves no memory."""
        self.seen.unverified = True
        for number in range(50):
            self.dropped("bad_signature", request(caller=f"choria=c{number}"))
        self.assertEqual(len(self.replay), 0)

    def test_filters_of_facts_come_before_the_memory(self) -> None:
        """A request for others is not remembered: it would fill the memory of a whole fleet."""
        payload = request(filter=ELSEWHERE)
        self.dropped("filtered", payload)
        self.dropped("filtered", payload)
        self.assertEqual(len(self.replay), 0)


class ShapeTests(AdmissionCase):
    """Messages that are no requests."""

    def test_size(self) -> None:
        """The largest message is read, a byte more is not, whatever is in it."""
        payload = request()
        self.assertIsInstance(self.admit(payload + b" " * (MAX_PAYLOAD - len(payload))), Accepted)
        self.dropped("too_large", b" " * (MAX_PAYLOAD + 1))
        self.admission = self.make(max_payload=100)
        self.dropped("too_large", payload)

    def test_documents(self) -> None:
        """Each layer's mistakes have a name of their own."""
        good = json.loads(request())
        inner = json.loads(base64.b64decode(good["data"]))

        def transport(**fields: Any) -> bytes:
            return json.dumps({**good, **fields}).encode()

        def secure(**fields: Any) -> bytes:
            data = json.dumps({**inner, **fields}).encode()
            return transport(data=base64.b64encode(data).decode())

        for reason, payload in (
            ("not_json", b""),
            ("not_utf8", b"\xff\xfe"),
            ("not_object", b"[]"),
            ("too_deep", b"[" * 10_000),
            ("bad_number", b'{"protocol": NaN}'),
            ("duplicate_key", b'{"data": "", "data": ""}'),
            ("case_variant_key", transport(DATA="x")),
            ("bad_protocol", transport(protocol="choria:transport:2")),
            ("bad_field", transport(headers=None)),
            ("missing_field", b'{"protocol": "choria:transport:1", "data": ""}'),
            ("bad_base64", transport(data="not base64")),
            ("bad_protocol", secure(protocol="choria:secure:reply:1")),
            ("missing_field", b'{"protocol":"choria:transport:1","headers":{}}'),
            ("bad_field", secure(message="")),
            ("bad_field", secure(signature=None)),
            ("bad_protocol", secure(message='{"protocol": "choria:reply:1"}')),
            ("bad_field", request(ttl=MIN_TTL - 1)),
            ("bad_field", request(request_id="short")),
        ):
            self.dropped(reason, payload)
        self.assertEqual(self.admission.counters.validated, 0)

    def test_no_reply_to(self) -> None:
        """What could not be answered is not done either."""
        self.dropped("no_reply_to", request(reply_to=None))
        self.dropped("no_reply_to", request(reply_to=""))
        self.assertEqual(self.seen.asked, [])

    def test_reply_to(self) -> None:
        """Answers go to reply subjects and nowhere else: nobody is made to hit others."""
        for subject in (
            "$SYS.REQ.SERVER.PING",
            f"{COLLECTIVE}.node.{IDENTITY}",
            f"{COLLECTIVE}.broadcast.agent.backplane",
            "a.reply.*",
            "a.reply.>",
            "a.reply.b c",
            "a.reply.b\r\nPUB x 0\r\n\r\n",
            "a.reply..b",
            "a.reply.",
            "a.reply." + "x" * 9000,
            "reply.b",
            "elsewhere",
        ):
            outcome = self.dropped("bad_reply_to", request(reply_to=subject))
            self.assertTrue(outcome.detail.isprintable())
        for subject in (REPLY_TO, "choria.federation.prod.collective"):
            self.accepted(request(reply_to=subject))

    def test_reply_to_extras(self) -> None:
        """An operator may allow further subjects."""
        self.admission = self.make(reply_to_extras=("collected.>",))
        self.accepted(request(reply_to="collected.by.me"))
        self.dropped("bad_reply_to", request(reply_to="collected"))

    def test_remote_text_in_details(self) -> None:
        """What strangers write is quoted on one line and short, for the log."""
        evil = "\x1b[2J\nfake line \u202e" + "x" * 5000
        for payload in (
            request(agent=evil),
            request(collective=evil),
            request(reply_to=evil),
            request(caller="choria=a " + evil),
            request(ttl=10**17),
            request(time=10**17),
        ):
            outcome = self.admit(payload)
            assert isinstance(outcome, Dropped)
            self.assertNotIn("\n", outcome.detail)
            self.assertNotIn("\x1b", outcome.detail)
            self.assertLess(len(outcome.detail), 400)


class AgeTests(AdmissionCase):
    """Requests are good for their time to live, before and after they were made."""

    def test_bounds(self) -> None:
        """The age must be less than the time to live, in both directions."""
        self.now = NOW
        for made, reason in (
            (int(NOW) - 60, "expired"),
            (int(NOW) - 59, None),
            (int(NOW) + 59, None),
            (int(NOW) + 60, "future"),
        ):
            if reason is None:
                self.accepted(request(time=made))
            else:
                self.dropped(reason, request(time=made))
        self.now = NOW + 0.001
        self.dropped("expired", request(time=int(NOW) - 60))
        self.accepted(request(time=int(NOW) - 59))

    def test_cap(self) -> None:
        """Nobody gets a request that is good for a day."""
        self.accepted(request(ttl=MAX_TTL))
        for ttl in (MAX_TTL + 1, 2**62):
            self.dropped("ttl_too_long", request(ttl=ttl))
        self.admission = self.make(max_ttl=60)
        self.dropped("ttl_too_long", request(ttl=61))

    def test_numbers_of_any_size(self) -> None:
        """Times as far away as a 64-bit number allows are old or of the future."""
        self.dropped("expired", request(time=-(2**63)))
        self.dropped("future", request(time=2**63 - 1))

    def test_counted_as_expired(self) -> None:
        """All four reasons count as Choria counts them."""
        for payload in (request(ttl=601), request(time=0), request(time=2**40)):
            self.admit(payload)
        counters = self.admission.counters
        self.assertEqual((counters.ttlexpired, counters.unvalidated), (3, 0))


class PlaceTests(AdmissionCase):
    """Collectives, subjects, agents and identities."""

    def test_collective(self) -> None:
        """A request for another application is not for us, even on our subject."""
        self.dropped("other_collective", request(collective="mcollective"))
        self.dropped("other_collective", request(collective=COLLECTIVE.upper()))

    def test_arrival_subject(self) -> None:
        """A request that was made for this collective is not replayed through another."""
        for subject in (
            "other_backplane.broadcast.agent.backplane",
            f"other_backplane.node.{IDENTITY}",
        ):
            self.dropped("other_collective", request(), subject)
        for subject in (BROADCAST, f"{COLLECTIVE}.node.{IDENTITY}", "some.import"):
            self.accepted(request(), subject)

    def test_subject_is_not_the_agent(self) -> None:
        """Which agent is meant stands in the request, as for Choria."""
        outcome = self.accepted(request(agent="discovery"), BROADCAST)
        self.assertEqual(outcome.request.agent, "discovery")

    def test_agent(self) -> None:
        """An agent that is not here gets no answer, and neither does one in other case."""
        for agent in ("rpcutil", "Backplane", "backplane "):
            self.dropped("unknown_agent", request(agent=agent))

    def test_identity_filter(self) -> None:
        """Names are alternatives; patterns stand in slashes."""
        for wanted, ours in (
            ((IDENTITY,), True),
            (("other", IDENTITY), True),
            (("/^app[12]/",), True),
            (("other",), False),
            (("app1",), False),
            (("/(/",), False),
            (("/^app2/",), False),
        ):
            payload = request(filter=Filter(identity=wanted))
            if ours:
                self.accepted(payload)
            else:
                self.assertTrue(self.dropped("filtered", payload).is_filtered)
        self.assertNotIn("facts", self.seen.asked)

    def test_agent_filter(self) -> None:
        """Every agent that is asked for must be here."""
        self.accepted(request(filter=Filter(agent=("backplane", "/^disc/"))))
        self.dropped("filtered", request(filter=Filter(agent=("backplane", "rpcutil"))))


class RoleTests(AdmissionCase):
    """What callers may find out by filters."""

    def test_role(self) -> None:
        """The role goes along with the request."""
        for name, role in (
            ("sre.choria", Role.FULL),
            ("1stline.choria", Role.READ_ONLY),
            ("nobody.choria", None),
        ):
            self.assertIs(self.accepted(request(caller=f"choria={name}")).role, role)

    def test_facts_and_classes(self) -> None:
        """Callers with a role filter on everything."""
        for caller in ("choria=sre.choria", "choria=1stline.choria"):
            for wanted in (
                Filter(fact=(FactFilter("dc", "==", "DC1"),)),
                Filter(cf_class=("role::web",)),
                Filter(compound=(({"expr": 'fact("dc") == "DC1"'},),)),
            ):
                self.accepted(request(caller=caller, filter=wanted))

    def test_without_role(self) -> None:
        """Callers without one see the facts of the backplane, and nothing else."""
        caller = "choria=nobody.choria"
        self.accepted(
            request(
                caller=caller,
                filter=Filter(fact=(FactFilter("backplane_version", "==", "1"),)),
            )
        )
        for wanted in (
            Filter(fact=(FactFilter("dc", "==", "DC1"),)),
            Filter(fact=(FactFilter("dc", "!=", "DC1"),)),
            Filter(fact=(FactFilter("@this.dc", "==", "DC1"),)),
            Filter(cf_class=("role::web",)),
            Filter(cf_class=("/./",)),
            Filter(compound=(({"expr": 'fact("dc") == "DC1"'},),)),
            Filter(compound=(({"expr": "len(classes) > 0"},),)),
        ):
            self.dropped("filtered", request(caller=caller, filter=wanted))

    def test_hidden(self) -> None:
        """A hidden service does not answer such callers at all."""
        self.admission = self.make(hidden=True)
        for agent in ("discovery", "backplane"):
            self.dropped("hidden", request(caller="choria=nobody.choria", agent=agent))
        self.accepted(request(caller="choria=1stline.choria"))

    def test_nobody_changes_nothing(self) -> None:
        """A change by a caller without a role is let pass, to be denied by name."""
        self.admission = self.make(started=NOW + 100)
        outcome = self.accepted(request(caller="choria=nobody.choria", action="pause"))
        self.assertIsNone(outcome.role)

    def test_now(self) -> None:
        """Expressions may ask for the time."""
        self.accepted(request(filter=Filter(compound=(({"expr": 'now() > date("2023-11-14")'},),))))
        self.dropped(
            "filtered",
            request(filter=Filter(compound=(({"expr": 'now() < date("2023-11-14")'},),))),
        )
