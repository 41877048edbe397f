"""The loop of ``status --watch``, with a broker in memory that comes and goes."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.changed import ChangeEvent, encode_change
from backplane.cli import watchloop
from backplane.cli.confirm import Nobody
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.cli.session import Asked, Session
from backplane.cli.status import Look
from backplane.client.accounting import ExitCode
from backplane.client.run import Operator
from backplane.nats.client import NatsClient
from backplane.testing import Harness
from tests.client.peers import Peers, reply
from tests.client.test_fleet import WELL

BROKER = "broker.example.net"


class Output(io.StringIO):
    """A stream that can be written until it cannot.

    :ivar error: then raised.
    """

    error: OSError | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


class LoopTests(SynchronousTestCase):
    """On a harness; two instances."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.addCleanup(self.harness.advance, 30)
        self.peers = Peers(self.harness)
        self.peers.add("one", "two")
        for name in ("one", "two"):
            self.peers.replies[name] = [(0.01, reply(data=WELL))]
        self.out = Output()
        self.err = io.StringIO()
        self.connections = 0
        self.patch(watchloop, "connected", self.connected)

    def connected(
        self, asked: Asked, reactor: Any, console: Console, work: Any
    ) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        """Connect as the command does, to the broker in memory."""
        self.connections += 1
        clock = self.harness.clock
        client = NatsClient(f"{BROKER}:4222", clock, endpoint=self.harness.endpoint, retry=False)
        client.startService()
        operator = Operator(
            client, clock, caller_id="choria=sre.choria", identity="here", now=clock.seconds
        )
        session = Session(client, operator, asked.who["timeout"])

        async def all_of_it() -> ExitCode:
            try:
                await session.connect()
                return ExitCode(await work(asked.command(session, console, Nobody())))
            finally:
                await client.stopService()

        return Deferred.fromCoroutine(all_of_it()), session.interrupt

    def watch(
        self, timeout: float | None = None, **who: Any
    ) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        settings: Any = type("Settings", (), {"brokers": (f"{BROKER}:4222",)})
        asked = Asked(
            settings=settings,
            who={"service": "app", "timeout": timeout, **who},
            as_json=False,
            verbose=False,
        )
        console = Console(self.out, self.err, {"NO_COLOR": "1"})
        clock = self.harness.clock
        return watchloop.watched(asked, clock, console, Look(), 5.0)

    def looks(self) -> int:
        return len(self.peers.discoveries)

    def end(self, watching: Deferred[ExitCode], stop: Callable[[], None]) -> None:
        stop()
        self.assertEqual(self.harness.result_of(watching), ExitCode.INTERRUPTED)

    def test_goes_on(self) -> None:
        """It looks at the interval until it is interrupted, with 130."""
        watching, stop = self.watch()
        self.harness.advance(1)
        self.assertIn("2 instance(s): 2 ok\n", self.out.getvalue())
        self.assertEqual(self.looks(), 1)
        self.harness.advance(12)
        self.assertEqual(self.looks(), 3)
        self.assertNoResult(watching)
        self.end(watching, stop)

    def test_timeout(self) -> None:
        """With a time it ends then, with the exit code of the last look."""
        watching, _ = self.watch(7.0)
        self.harness.advance(5.1)
        self.peers.replies["two"] = [(0.01, reply(data={**WELL, "healthy": False}))]
        self.harness.advance(1.5)
        self.assertNoResult(watching)
        self.harness.advance(0.5)
        self.assertEqual(self.successResultOf(watching), ExitCode.FAILED)

    def test_cut_off(self) -> None:
        """A look that the end cuts off says less than the one before, and does not count."""
        watching, _ = self.watch(6.0)
        self.harness.advance(4)
        self.peers.replies["two"] = []
        self.harness.advance(3)
        self.assertEqual(self.looks(), 2)
        self.assertEqual(self.successResultOf(watching), ExitCode.OK)
        self.assertNotIn("silent", self.out.getvalue())

    def test_event(self) -> None:
        """What happens is shown at once, and looked at sooner."""
        watching, stop = self.watch()
        self.harness.advance(2)
        event = ChangeEvent(
            service="app",
            identity="one",
            at=1.0,
            who="choria=bob",
            what="app: running → paused",
            outcome="done",
        )
        self.harness.broker.publish("choria.backplane.event.app", encode_change(event))
        self.harness.network.flush()
        self.assertIn("one  app: running → paused: done, by choria=bob", self.out.getvalue())
        self.harness.advance(1.2)
        self.assertEqual(self.looks(), 2)
        self.end(watching, stop)

    def test_flood(self) -> None:
        """However much happens, there is a pause between looks."""
        watching, stop = self.watch()
        for _ in range(100):
            self.harness.advance(0.1)
            self.harness.broker.publish(
                "choria.backplane.event.app",
                encode_change(
                    ChangeEvent(
                        service="app", identity="one", at=1.0, who="x", what="x", outcome="done"
                    )
                ),
            )
        self.assertLess(self.looks(), 12)
        self.end(watching, stop)

    def test_broker_comes_back(self) -> None:
        """A broker that goes away is waited for, told of once, and looked at again."""
        watching, stop = self.watch()
        self.harness.advance(2)
        self.harness.network.fail_dns(BROKER)
        self.harness.broker.drop_all()
        self.harness.advance(20)
        self.assertEqual(self.out.getvalue().count("the broker is away"), 1)
        self.assertGreater(self.connections, 5)
        self.peers.replies["two"] = [(0.01, reply(data={**WELL, "version": "2"}))]
        self.harness.network.fail_dns(BROKER, False)
        self.harness.advance(3)
        self.assertIn("two  version 1 → 2", self.out.getvalue())
        self.end(watching, stop)

    def test_away_at_the_end(self) -> None:
        """Where the broker is away when the time is over, the last look counts."""
        watching, _ = self.watch(10.0)
        self.harness.advance(2)
        self.harness.network.fail_dns(BROKER)
        self.harness.broker.drop_all()
        self.harness.advance(9)
        self.assertEqual(self.successResultOf(watching), ExitCode.OK)

    def test_nobody_reads(self) -> None:
        """It ends with what it cannot write any more, with the code of the last look."""
        watching, _ = self.watch()
        self.harness.advance(2)
        self.out.error = BrokenPipeError()
        self.harness.advance(20)
        self.assertNoResult(watching)  # there was nothing to write
        self.peers.replies["two"] = [(0.01, reply(data={**WELL, "healthy": False}))]
        self.harness.advance(6)
        self.assertEqual(self.successResultOf(watching), ExitCode.FAILED)
        self.assertEqual(self.err.getvalue(), "")

    def test_nobody_reads_of_the_broker(self) -> None:
        """The same, when what cannot be written is that there is no broker."""
        watching, _ = self.watch()
        self.harness.advance(2)
        self.out.error = BrokenPipeError()
        self.harness.network.fail_dns(BROKER)
        self.harness.broker.drop_all()
        self.harness.advance(2)
        self.assertEqual(self.successResultOf(watching), ExitCode.OK)

    def test_full(self) -> None:
        """Output that was never written ends it after the first look."""
        self.out.error = OSError(errno.ENOSPC, "No space left on device")
        watching, _ = self.watch()
        self.harness.advance(1)
        self.assertEqual(self.successResultOf(watching), ExitCode.OK)
        self.assertEqual(self.looks(), 1)
        self.assertEqual(self.err.getvalue().count("standard output: "), 1)

    def test_interrupted_while_away(self) -> None:
        """Ctrl-C ends it at once, also then."""
        watching, stop = self.watch()
        self.harness.advance(2)
        self.harness.network.fail_dns(BROKER)
        self.harness.broker.drop_all()
        self.harness.advance(2.5)
        self.end(watching, stop)

    def test_never_there(self) -> None:
        """Without a broker at first it is 69, as with any command."""
        self.harness.network.fail_dns(BROKER)
        watching, _ = self.watch()
        self.harness.advance(10)
        fault = self.failureResultOf(watching, Fault).value
        assert isinstance(fault, Fault)
        self.assertEqual(fault.code, ExitCode.UNREACHABLE)

    def test_no_time(self) -> None:
        """Time that is over before the first look has shown anything is a failure."""
        watching, _ = self.watch(0.1)
        self.harness.advance(1)
        fault = self.failureResultOf(watching, Fault).value
        assert isinstance(fault, Fault)
        self.assertEqual(fault.code, ExitCode.STOPPED)

    def test_permissions(self) -> None:
        """Where the operator may not hear of events he looks all the same."""
        self.harness.broker.deny_subscribe = ["choria.>"]
        watching, stop = self.watch()
        self.harness.advance(7)
        self.assertEqual(self.looks(), 2)
        self.end(watching, stop)
