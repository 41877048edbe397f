"""One operator who enrolls with a fake authority, over real sockets on the loopback."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as default
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from backplane.cli import enroll as module
from backplane.cli.console import Console
from backplane.cli.faults import Fault
from backplane.client.enrolment import Enrolled, Enrolment, Watcher
from backplane.client.puppetca import PuppetAuthority
from backplane.security.ssldir import SSLDir
from tests.cli.fakeca import FakeCA

reactor: Any = default
NAME = "bob.mcollective"


@attrs.frozen
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


class Patient(Watcher):
    """Lets the time pass while somebody waits, and writes down for how long."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.problems: list[str | None] = []
        self.since: list[float] = []
        self.warnings: list[str] = []

    def waiting(self, since: float, left: float, problem: str | None) -> None:
        self.since.append(since)
        self.problems.append(problem)
        reactor.callLater(0, self.pass_time)

    def pass_time(self) -> None:
        """Let it be the time that somebody waits for."""
        self.clock.advance(self.clock.calls[0].getTime() - self.clock.seconds())

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class EnrolCase(TestCase):
    """A fake authority that listens, and a directory that is not there yet."""

    def setUp(self) -> None:
        self.ca = FakeCA()
        self.folder = Path(self.mktemp()).absolute() / "ssl"
        self.files = SSLDir(str(self.folder), NAME)
        self.clock = Clock()
        self.watcher = Patient(self.clock)
        self.listen()

    def listen(self) -> None:
        """Listen, on another port than before."""
        listening = self.ca.listen()
        self.port = listening.getHost().port
        self.addCleanup(listening.stopListening)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/puppet-ca/v1"

    def content(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def put(self, path: str, data: bytes) -> None:
        Path(path).write_bytes(data)

    def there(self, path: str) -> bool:
        return Path(path).exists()

    def modes(self) -> dict[str, str]:
        """Return all files, and their modes."""
        return {
            str(path.relative_to(self.folder)): oct(stat.S_IMODE(path.stat().st_mode))
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    def enrol(self, wait: float = 100.0, **given: Any) -> Deferred[Enrolled]:
        """Enroll on a clock."""
        authority = PuppetAuthority(
            reactor, "localhost", self.port, clock=self.clock, warn=self.watcher.warning
        )
        values = {"name": NAME, "pin": None, "now": reactor.seconds, **given}
        enrolment = Enrolment(
            authority, self.files, wait=wait, clock=self.clock, watcher=self.watcher, **values
        )
        return Deferred.fromCoroutine(enrolment.run())

    async def run_command(
        self, *, host: str = "localhost", live: bool = False, **given: Any
    ) -> Ran:
        """Run the command up to its end, in this reactor."""
        out, err = io.StringIO(), Terminal() if live else io.StringIO()
        as_json = given.pop("as_json", False)
        shown = module._Shown(Console(out, err, {}), as_json)
        values = {
            "ca": f"{host}:{self.port}",
            "pin": None,
            "certname": NAME,
            "ssl_dir": str(self.folder),
            "wait": 0.0,
            "config": None,
            **given,
        }
        try:
            plan = module._plan({"USER": "bob"}, **values)
            shown.plan(plan)
            working, _ = module._begin(plan, shown)(reactor)
            code = shown.end(None, await working)
        except Fault as fault:
            code = shown.end(fault.text, fault.code)
        return Ran(code, out.getvalue(), err.getvalue())

    async def refusal(self, code: int, **given: Any) -> str:
        """Run the command; return its one line of complaint."""
        ran = await self.run_command(**given)
        self.assertEqual(ran.code, code, ran.err)
        lines = [line for line in ran.err.splitlines() if "warning" not in line]
        self.assertEqual(len(lines), 1, ran.err)
        return lines[0]
