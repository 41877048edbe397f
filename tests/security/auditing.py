"""Entries and lines of audit logs, for the tests of the log and of its verification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.security.audit import AuditLog
from backplane.security.auditchain import START, AuditEntry, Phase, build_line
from backplane.security.auditverify import Verdict, verify_files

__all__ = ["ENTRY", "NOW", "VECTORS", "LogCase", "forged", "line_of", "mask", "pack"]

VECTORS = Path(__file__).parent.parent / "vectors" / "audit"
"""What a Choria node has written."""

ENTRY = AuditEntry(
    request_id="5b93bca8b4ce4e959f84fae738a93619",
    request_time=1795570848,
    caller="choria=rip.mcollective",
    sender="client1.example.net",
    agent="backplane",
    action="pause",
    data={"because": "it is late", "db_password": "hunter2"},
    signer="rip.mcollective",
    secure=True,
)
NOW = 1795570457.048054


def unmasked(value: Any) -> Any:
    return value


def mask(value: Any) -> Any:
    return {key: "***" if "password" in key else item for key, item in value.items()}


def line_of(entry: AuditEntry, **kwargs: Any) -> bytes:
    given: dict[str, Any] = {
        "phase": Phase.ONLY,
        "decision": "allow",
        "rule": "full",
        "outcome": "ok",
        "duration": 0.25,
        "link": (1, START),
        "mask": unmasked,
        "now": NOW,
        **kwargs,
    }
    return build_line(entry, **given)


def pack(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def forged(lines: list[bytes], at: int, **changes: Any) -> bytes:
    """Return line ``at`` with other values."""
    return pack({**json.loads(lines[at]), **changes})


class LogCase(SynchronousTestCase):
    """A log in a folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "audit.log"
        self.reports: list[str] = []
        self.log = self.make()
        self.log.open()

    def make(self, required: bool = True) -> AuditLog:
        log = AuditLog(str(self.path), required, mask=mask, report=self.reports.append)
        self.addCleanup(log.close)
        return log

    def restart(self) -> None:
        self.log.close()
        self.log = self.make()
        self.log.open()

    def fresh(self) -> None:
        """Begin again with an empty folder."""
        self.log.close()
        for path in self.folder.iterdir():
            path.unlink()
        self.reports.clear()
        self.restart()

    def write(self, count: int = 1, **changes: Any) -> None:
        for _ in range(count):
            entry = attrs.evolve(ENTRY, **changes)
            self.assertTrue(self.log.only(entry, NOW, allowed=False, rule="no role"))

    def lines(self, path: Path | None = None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (path or self.path).read_bytes().splitlines()]

    def verify(self, *paths: Path, anchors: tuple[str, ...] = ()) -> Verdict:
        return verify_files([str(path) for path in paths or (self.path,)], anchors)

    def good(self, *paths: Path) -> Verdict:
        verdict = self.verify(*paths)
        self.assertIsNone(verdict.fault)
        return verdict
