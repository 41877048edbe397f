"""Every altered form of a signed request is refused for its own reason, in memory."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane import Management
from backplane.choria import rpc, v1
from backplane.config.service import parse
from backplane.nats.parser import Pub
from backplane.nats.servers import Server
from backplane.node import statefile
from backplane.testing import FakeBroker, MemoryNetwork, RecordingApplication
from backplane.testing.network import MemoryEndpoint, advance
from tests.altered import REPEATS, ROWS
from tests.altered_row import Row, fitting
from tests.altering import BODY, CAPTURED, COLLECTIVE, IDENTITY, SUBJECT, TIME, altered
from tests.node.messages import Lines
from tests.secured import broker_side, tls_section

ACTED = ["paused", "pause", "paused"]
DOCS = Path(__file__).parents[2] / "docs"


class AlteredCase(SynchronousTestCase):
    """Services under TLS on a clock, at the time of the capture."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.replies: list[tuple[str, rpc.RpcReply]] = []
        self.managements: list[Management] = []

    def manage(self, started: float = TIME - 600, **settings: Any) -> Management:
        """Start a service, and a broker for it, ten minutes before the capture by default."""
        self.clock.rightNow = started
        self.network = MemoryNetwork(self.clock)
        self.app = RecordingApplication({"dc": "DC1"})
        side = broker_side() if settings.get("tls", {}) is not None else None
        self.broker = FakeBroker(tls=side, clock=self.clock, max_payload=32 * 1024 * 1024)
        self.network.listen("broker.example.net", 4222, self.broker)
        fields = {
            "name": "demo",
            "identity": IDENTITY,
            "loglevel": "debug",
            "brokers": ["broker.example.net:4222"],
            "auth": {"full": ["rip.mcollective", "sre.choria"]},
            "tls": tls_section(IDENTITY),
            **settings,
        }
        fields = {key: value for key, value in fields.items() if value is not None}
        management = Management(
            parse(fields, env={}, hostname="host.example.net", pid=1),
            reactor=self.clock,
            now=self.clock.seconds,
            endpoint=self._endpoint,
            rng=random.Random(1),
            pausable=self.app,
            info_source=self.app,
        )
        self.managements.append(management)
        management.startService()
        self.network.flush()
        self.successResultOf(management.when_ready())
        self.broker.subscribe("*.reply.>", self._reply)
        return management

    def tearDown(self) -> None:
        for management in list(self.managements):
            self.end(management)

    def end(self, management: Management) -> None:
        """Stop a service."""
        self.managements.remove(management)
        stopped = management.stopService()
        self.network.flush()
        advance(self.clock, 10, 1.0)
        self.network.flush()
        self.successResultOf(stopped)

    def _endpoint(self, server: Server) -> MemoryEndpoint:
        return self.network.endpoint(server.host, server.port)

    def _reply(self, message: Pub) -> None:
        _, reply = v1.open_reply(message.payload)
        self.replies.append((message.subject, rpc.decode_reply(reply.message)))

    def send(self, payload: bytes, subject: str = SUBJECT, at: float = TIME + 0.5) -> list[str]:
        """Publish at a time; return the names of the application's methods that it called."""
        if self.clock.seconds() < at:
            advance(self.clock, at - self.clock.seconds(), 10.0)
        self.network.flush()
        self.app.calls.clear()
        self.log.events.clear()
        self.replies.clear()
        self.broker.publish(subject, payload)
        self.network.flush()
        return [name for name in self.app.calls if name not in ("fact_data", "version")]

    def statistics(self) -> Mapping[str, Any]:
        """Return what the service itself counts, as an operator is told it."""
        body = '{"agent":"rpcutil","action":"daemon_stats","data":{}}'
        time = int(self.clock.seconds())
        self.broker.publish(
            SUBJECT, altered(envelope={"agent": "rpcutil", "time": time}, body=body)
        )
        self.network.flush()
        _, reply = self.replies.pop()
        return reply.data

    def dropped(self, row: Row) -> None:
        """Check that the row is refused, for its reason, and counted under it."""
        called = self.send(row.make(), row.subject)
        lines = self.log.texts()
        self.assertEqual(called, [], row.name)
        if row.status is not None:
            ((_, reply),) = self.replies
            self.replies.clear()
            self.assertEqual(reply.status, row.status, f"{row.name}: {reply}")
            self.assertTrue(reply.message.startswith(row.words), f"{row.name}: {reply.message}")
            self.assertEqual(self.statistics()["dropped"], {}, row.name)
            return
        self.assertEqual(self.replies, [], row.name)
        self.assertTrue(any(fitting(line, row) for line in lines), f"{row.name}: {lines}")
        self.assertEqual(self.statistics()["dropped"], {row.reason: 1}, row.name)


class TableTests(AlteredCase):
    """The table."""

    def test_nothing_altered(self) -> None:
        """The request that the forms are made of is the captured one, and is acted upon."""
        self.assertEqual(altered().decode(), CAPTURED)
        self.manage()
        self.assertEqual(self.send(CAPTURED.encode()), ACTED)
        ((_, reply),) = self.replies
        self.assertEqual((reply.status, reply.data), (0, {"paused": True}))

    def test_names(self) -> None:
        """No two rows have one name, and no two one form."""
        rows = [*ROWS, *REPEATS]
        for what in (lambda row: row.name, lambda row: (row.subject, row.make())):
            often = [key for key, count in Counter(map(what, rows)).items() if count > 1]
            self.assertEqual(often, [])

    def test_documented(self) -> None:
        """The manual explains each reason."""
        manual = DOCS.joinpath("operations.rst").read_text(encoding="utf-8")
        for row in ROWS:
            self.assertIn(f"``{row.reason}``" if row.reason else "", manual)


def _test(row: Row, *, again: bool) -> Callable[[AlteredCase], None]:
    def test(self: AlteredCase) -> None:
        self.manage()
        if again:
            self.assertEqual(self.send(CAPTURED.encode()), ACTED)
        self.dropped(row)

    test.__doc__ = f"{row.name}: {row.reason or 'answered'}, {row.words[:60]}"
    return test


for _rows, _again in ((ROWS, False), (REPEATS, True)):
    for _row in _rows:
        _name = "".join(char if char.isalnum() else "_" for char in _row.name.lower())
        setattr(
            TableTests, f"test_{'again' if _again else 'form'}_{_name}", _test(_row, again=_again)
        )


class RestartTests(AlteredCase):
    """A service that was started anew."""

    def test_made_before_the_start(self) -> None:
        """A change that the process before may have made is refused with a reply, and counted."""
        self.end(self.manage(TIME - 100))
        self.manage(TIME + 10)
        for payload in (
            altered(),
            altered(headers={"reply-to": f"{COLLECTIVE}.reply.elsewhere.1"}),
            altered(data=lambda text: f"{text[:60]}\n{text[60:]}"),
        ):
            self.assertEqual(self.send(payload, at=TIME + 20), [])
            ((_, reply),) = self.replies
            self.assertEqual((reply.status, reply.data), (1, {}))
            self.assertIn("made before this service started", reply.message)
        self.assertEqual(self.statistics()["refused"], {"before_start": 3})

    def test_reads(self) -> None:
        """A read may be answered again: it changes nothing."""
        self.end(self.manage(TIME - 100))
        self.manage(TIME + 10)
        self.send(altered(body=BODY.replace("pause", "info")), at=TIME + 20)
        self.assertEqual([reply.status for _, reply in self.replies], [0])


class RestartWithStateTests(AlteredCase):
    """A service that keeps its memory in a file, and was started anew."""

    def setUp(self) -> None:
        super().setUp()
        # Systems that do not name their boots are as after a power failure.
        self.patch(statefile, "_boot_id", lambda: "a boot")
        self.state = os.path.abspath(self.mktemp())

    def test_repeats(self) -> None:
        """What the process before acted upon is known, however it comes again."""
        for row in REPEATS:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.state)
            first = self.manage(TIME - 100, state_file=self.state)
            self.assertEqual(self.send(CAPTURED.encode()), ACTED, row.name)
            self.end(first)
            second = self.manage(TIME + 10, state_file=self.state)
            self.dropped(row)
            self.end(second)

    def test_others(self) -> None:
        """What it has not seen is acted upon, though it is older than the start."""
        self.end(self.manage(TIME - 100, state_file=self.state))
        self.manage(TIME + 10, state_file=self.state)
        self.assertEqual(self.send(CAPTURED.encode()), ACTED)
        self.assertEqual(self.statistics()["refused"], {})


class OtherModeTests(AlteredCase):
    """Messages of one mode to services of the other."""

    def test_signed_to_insecure(self) -> None:
        """A service without certificates takes signed requests, as Choria's do (captured).

        It looks at neither signature nor certificate, so a damaged one is the same to it.
        """
        self.manage(tls=None)
        self.assertEqual(self.send(CAPTURED.encode()), ACTED)
        self.assertEqual(self.send(CAPTURED.encode()), [])
        self.assertEqual(self.statistics()["dropped"], {"repeated": 1})
