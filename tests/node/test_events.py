"""Change events: what a service tells whoever listens."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.change import Change, Entry
from backplane.choria.changed import ChangeEvent, decode_change
from backplane.nats.client import Connected, ServerError
from backplane.nats.errors import BufferFull
from backplane.node.events import ChangeEvents
from backplane.testing.managed import FULL
from tests.node.messages import Lines
from tests.node.test_changes import ChangesCase

SUBJECT = "choria.backplane.event.app"
ME = f"choria={FULL}"


class EventsTests(ChangesCase):
    """On a harness."""

    def events(self) -> list[ChangeEvent]:
        self.harness.network.flush()
        return [
            decode_change(payload) for to, payload in self.harness.broker.published if to == SUBJECT
        ]

    def test_lease(self) -> None:
        """A change and its expiry, with all that ``who`` shows."""
        self.manage(self.app)
        made = self.change("app", "paused", **{"for": 60, "why": "failover"})
        (event,) = self.events()
        self.assertEqual(
            event,
            ChangeEvent(
                service="app",
                identity="app1.example.net",
                at=event.at,
                who=ME,
                what="app: running → paused",
                outcome="done",
                why="failover",
                target="app",
                change=made["change"],
                until=made["until"],
                run=event.run,
            ),
        )
        self.assertEqual(len(event.run), 32)
        self.harness.advance(61)
        _, over = self.events()
        self.assertEqual((over.outcome, over.who, over.change), ("expired", ME, made["change"]))

    def test_ended(self) -> None:
        """One that is taken back by another names him; an old action is told of as well."""
        self.manage(self.app, auth={"full": [FULL, "bob.choria"]})
        made = self.change("breaker:payments", "open")
        self.data("end", data={"change": made["change"]}, caller="bob.choria")
        self.data("debuglvl")
        told = [(event.who, event.target, event.outcome) for event in self.events()]
        self.assertEqual(
            told,
            [
                (ME, "breaker:payments", "done"),
                ("choria=bob.choria", "breaker:payments", "ended"),
                (ME, "log:", "done"),
            ],
        )

    def test_failed(self) -> None:
        """What the application says of its failure is not told, and a refusal is not."""
        self.manage(self.app)
        self.app.raises["pause"] = RuntimeError("password is hunter2")
        self.refused("change", target="app", to="paused")
        self.refused("change", target="app", to="running", expect="paused")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        (event,) = self.events()
        self.assertEqual(event.outcome, "failed")
        self.assertNotIn("hunter2", str(event))

    def test_forbidden(self) -> None:
        """A broker that does not allow it is not asked again; the changes are made."""
        self.harness.broker.deny_publish = [SUBJECT]
        self.manage(self.app)
        for _ in range(3):
            self.data("pause")
            self.data("resume")
        self.assertEqual(self.events(), [])
        self.assertFalse(self.app.paused())

    def test_no_broker(self) -> None:
        """What happens while there is no broker is told when there is one."""
        self.manage(self.app)
        self.change("app", "paused", **{"for": 5})
        self.harness.network.fail_dns("broker.example.net")
        self.harness.broker.drop_all()
        self.harness.advance(6)
        self.assertFalse(self.app.paused())
        self.harness.network.fail_dns("broker.example.net", False)
        self.harness.advance(60)
        self.assertEqual([event.outcome for event in self.events()], ["done", "expired"])


class Client:
    """A client that does what it is told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.sent: list[str] = []
        self.listeners: list[Any] = []

    def publish(self, subject: str, payload: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(subject)

    def add_listener(self, listener: Any) -> None:
        self.listeners.append(listener)

    def remove_listener(self, listener: Any) -> None:
        self.listeners.remove(listener)


class ChangeEventsTests(SynchronousTestCase):
    """Without a network."""

    def setUp(self) -> None:
        self.client = Client()
        self.lines = Lines()
        self.known: dict[str, Change] = {}
        client: Any = self.client
        self.events = ChangeEvents(
            client,
            service="app",
            identity="a",
            change=self.known.get,
            log=self.lines.logger(),
        )
        self.events.start()

    def entry(self, target: str = "app") -> Entry:
        return Entry(at=1.0, who=ME, what="app: x", outcome="done", target=target, change="c")

    def test_error(self) -> None:
        """What cannot be published is not, and nobody hears of an error."""
        self.client.error = BufferFull("full")
        self.events.changed(self.entry())
        self.assertEqual(self.client.sent, [])

    def test_forbidden(self) -> None:
        """It is said once; the next connection may allow it."""
        (tell,) = self.client.listeners
        tell(ServerError("publish", "no", "other.subject"))
        self.events.changed(self.entry())
        self.assertEqual(self.client.sent, [SUBJECT])
        for _ in range(2):
            tell(ServerError("publish", "no", SUBJECT))
        self.events.changed(self.entry())
        self.assertEqual(self.client.sent, [SUBJECT])
        self.assertEqual(len(self.lines.texts()), 1)
        tell(Connected("nats://a", False))
        self.events.changed(self.entry())
        self.assertEqual(self.client.sent, [SUBJECT] * 2)

    def test_no_target(self) -> None:
        """What is no change of a target is not told."""
        self.events.changed(self.entry(""))
        self.assertEqual(self.client.sent, [])

    def test_stop(self) -> None:
        """It leaves nothing behind."""
        self.events.stop()
        self.assertEqual(self.client.listeners, [])
