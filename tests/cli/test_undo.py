"""``undo`` of runs that nobody remembers: one line says so."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from backplane.cli import undo
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.cli.session import Command
from backplane.client.accounting import ExitCode
from backplane.client.runs import Runs
from tests.cli.rolling import RollingCase
from tests.cli.sessions import session_on

Work = Callable[[Command], Awaitable[ExitCode]]


class UnknownTests(RollingCase):
    """On a harness; nothing is remembered."""

    def undo(self, service: str, run: str) -> tuple[Fault, str]:
        """Return how it fails, and what was written before."""
        works: list[Work] = []

        def operate(console: Console, given: Mapping[str, Any], work: Work) -> int:
            works.append(work)
            return 0

        self.patch(undo, "operate", operate)
        out = io.StringIO()
        console = Console(out, out, {})
        undo.undo_command.main([service, run], standalone_mode=False, obj=console)
        harness = self.harness
        session = session_on(harness, self)
        runs = Runs(None, self.fail)
        command = Command(
            session, console, {"service": service}, as_json=False, verbose=False, runs=runs
        )

        async def all_of_it() -> ExitCode:
            await session.connect()
            return ExitCode(await works[0](command))

        waiting = Deferred.fromCoroutine(all_of_it())
        harness.advance(5)
        fault = self.failureResultOf(waiting, Fault).value
        assert isinstance(fault, Fault)
        return fault, out.getvalue()

    def test_no_service(self) -> None:
        """Nobody is there who could know it."""
        fault, written = self.undo("nosuch", "deadbeef")
        self.assertIn("did not discover any nodes", fault.text)
        self.assertEqual((fault.code, written), (ExitCode.NOTHING_MATCHED, ""))

    def test_no_run(self) -> None:
        """Those who are there do not know it."""
        fault, written = self.undo("app", "deadbeef")
        self.assertIn("or by the 5 service(s) that answered", fault.text)
        self.assertEqual((fault.code, written), (ExitCode.NOTHING_MATCHED, ""))

    def test_short(self) -> None:
        """Services are asked for eight characters at least."""
        fault, written = self.undo("app", "dead")
        self.assertIn("at least 8 characters", fault.text)
        self.assertEqual((fault.code, written), (ExitCode.USAGE, ""))
