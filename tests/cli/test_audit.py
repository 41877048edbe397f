"""``backplane audit verify``: text, JSON, exit codes."""

from __future__ import annotations

import gzip
import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli import main as module
from backplane.security.audit import AuditEntry, AuditLog

ENTRY = AuditEntry(
    request_id="5b93bca8b4ce4e959f84fae738a93619",
    request_time=1795570848,
    caller="choria=rip.mcollective",
    sender="client1.example.net",
    agent="backplane",
    action="pause",
    signer="rip.mcollective",
    secure=True,
)

WHEN = "2026-11-25T01:34:17.048054+0000"


class AuditTests(SynchronousTestCase):
    """A log in two parts, two lines each."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(os, "environ", {"HOME": str(self.folder)})
        self.path = self.folder / "audit.log"
        self.part = self.folder / "audit.log.1"
        self.log = AuditLog(str(self.path), True, mask=lambda data: data)
        self.log.open()
        self.addCleanup(self.log.close)
        self.write(2)
        self.path.rename(self.part)
        self.write(2)

    def write(self, count: int, secure: bool = True) -> None:
        for _ in range(count):
            entry = attrs.evolve(ENTRY, secure=secure)
            self.log.only(entry, 1795570457.048054, allowed=False, rule="no role")

    def run_main(self, *args: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = module.main([str(arg) for arg in args])
        return code, out.getvalue(), err.getvalue()

    def head(self) -> str:
        code, out, _ = self.run_main("audit", "verify", "--json", self.path)
        self.assertEqual(code, 0)
        return str(json.loads(out)["head"])

    def test_good(self) -> None:
        """How many lines, from when to when, and the hash that is worth keeping."""
        numbers = f"numbers 1 to 4, hash of the last {self.head()}"
        self.assertEqual(
            self.run_main("audit", "verify", self.path, self.part),
            (0, f"lines: 4, from {WHEN} to {WHEN}\n{numbers}\n", ""),
        )

    def test_notes(self) -> None:
        """What a reader should know of a log that holds."""
        self.write(3, secure=False)
        with self.path.open("ab") as file:
            file.write(b"half a l")
        self.log.close()
        self.log.only(ENTRY, 0.0, allowed=False, rule="no role")
        self.log.open()
        self.write(1)
        code, out, err = self.run_main("audit", "verify", self.path)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(
            out.splitlines()[2:],
            [
                "the chain begins earlier, in files that were not given",
                "of the insecure mode, names not verified: 3",
                "could not be written at the time: 1",
                "torn, and noted by the writer: 1",
            ],
        )

    def test_bad(self) -> None:
        """The first line that does not fit is named, and the exit code is 2."""
        text = self.part.read_text()
        self.part.write_text(text.replace("pause", "info", 1))
        code, out, err = self.run_main("audit", "verify", self.part, self.path)
        self.assertEqual(code, 2)
        self.assertTrue(out.startswith("lines up to the fault: 1, from "), out)
        self.assertEqual(
            err,
            f"backplane: error: {self.part}:1: edited: is not what the next line was chained to\n",
        )
        self.part.write_text("junk\n")
        code, out, err = self.run_main("audit", "verify", self.part)
        self.assertEqual((code, out), (2, "no line fits\n"))

    def test_json(self) -> None:
        """One document, whatever comes of it."""
        code, out, err = self.run_main("audit", "verify", "--json", self.path, self.part)
        self.assertEqual((code, err), (0, ""))
        document = json.loads(out)
        self.assertEqual(
            {key: document[key] for key in ("ok", "lines", "whole", "fault", "exit_code")},
            {"ok": True, "lines": 4, "whole": True, "fault": None, "exit_code": 0},
        )
        self.part.write_text(self.part.read_text().splitlines(keepends=True)[0])
        code, out, err = self.run_main("audit", "verify", "--json", self.path, self.part)
        document = json.loads(out)
        self.assertEqual((code, err, document["ok"], document["exit_code"]), (2, "", False, 2))
        self.assertEqual(
            document["fault"],
            {
                "path": str(self.path),
                "line": 1,
                "kind": "removed",
                "text": "lines are missing before it: 1",
            },
        )

    def test_anchor(self) -> None:
        """A hash kept elsewhere shows that the end was cut off."""
        head = self.head()
        arguments = ("audit", "verify", self.path, self.part, "--anchor", head.upper())
        self.assertEqual(self.run_main(*arguments)[0], 0)
        lines = self.path.read_text().splitlines(keepends=True)
        self.path.write_text(lines[0])
        code, _, err = self.run_main(*arguments)
        self.assertEqual(
            (code, err), (2, f"backplane: error: anchor: no line has the hash {head}\n")
        )

    def test_empty(self) -> None:
        self.path.write_text("")
        self.assertEqual(
            self.run_main("audit", "verify", self.path), (0, "there are no lines\n", "")
        )

    def test_usage(self) -> None:
        """What cannot be read or understood is 64, as JSON too."""
        broken = self.folder / "audit.log.2.gz"
        broken.write_bytes(gzip.compress(self.path.read_bytes())[:30])
        missing = self.folder / "none"
        for arguments, text in (
            ((), "Missing argument 'FILE...'"),
            ((missing,), f"{missing}: No such file or directory"),
            ((self.folder,), f"{self.folder}: Is a directory"),
            ((broken,), f"{broken}: cannot be unpacked: "),
            ((self.path, "--anchor", "abc"), "'abc' is not a SHA-256: 64 hexadecimal digits"),
        ):
            code, out, err = self.run_main("audit", "verify", *arguments)
            self.assertEqual((code, out), (64, ""))
            self.assertIn(f"backplane: error: {text}", err)
            code, out, err = self.run_main("audit", "verify", "--json", *arguments)
            self.assertEqual((code, err), (64, ""))
            self.assertTrue(json.loads(out)["error"].startswith(text), out)

    def test_help(self) -> None:
        """Help on standard output, for the group and the command."""
        for arguments, text in (
            (("audit", "--help"), "Verifies audit logs."),
            (("audit", "verify", "--help"), "Names the first line"),
            (("help", "audit"), "Verifies audit logs."),
        ):
            code, out, err = self.run_main(*arguments)
            self.assertEqual((code, err), (0, ""))
            self.assertIn(text, out)
        self.assertEqual(self.run_main("audit", "nonsense")[0], 64)
