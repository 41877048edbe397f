"""What a check found: its verdict, what is so, and what to do about it.

Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs

from backplane.client.accounting import ExitCode
from backplane.errors import ConfigError

__all__ = ["Finding", "Verdict", "exit_code", "failed", "ok", "problems", "skipped", "warning"]


class Verdict(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen
class Finding:
    """One check.

    :ivar check: its name, such as ``certificate.dates``; several findings may have one.
    :ivar detail: what is so, or why it was skipped; never a secret.
    :ivar fix: what to do, where there is something to be done.
    :ivar cause: exit code of a run whose failures are all of this kind.
    """

    check: str
    verdict: Verdict
    detail: str
    fix: str | None = None
    cause: ExitCode = ExitCode.FAILED

    def as_dict(self) -> dict[str, str | None]:
        """Return what ``--json`` shows of it."""
        return {
            "check": self.check,
            "verdict": self.verdict.value,
            "detail": self.detail,
            "fix": self.fix,
        }


def ok(check: str, detail: str) -> Finding:
    """Return a finding with which all is well."""
    return Finding(check, Verdict.OK, detail)


def warning(check: str, detail: str, fix: str | None = None) -> Finding:
    """Return one that is lawful and hardly meant."""
    return Finding(check, Verdict.WARNING, detail, fix)


def failed(
    check: str, detail: str, fix: str | None = None, cause: ExitCode = ExitCode.FAILED
) -> Finding:
    """Return one that must be mended."""
    return Finding(check, Verdict.FAILED, detail, fix, cause)


def skipped(check: str, why: str, fix: str | None = None) -> Finding:
    """Return one that could not be made.

    :param fix: how it could.
    """
    return Finding(check, Verdict.SKIPPED, why, fix)


def problems(check: str, error: ConfigError, cause: ExitCode) -> list[Finding]:
    """Return the mistakes of a configuration."""
    found = []
    for each in error.problems:
        where = ":".join(str(part) for part in (each.path, each.line, each.column) if part)
        what = ": ".join(part for part in (where, each.key, f"found {each.found}") if part)
        found.append(failed(check, what, f"wanted {each.wanted}", cause))
    return found


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Return 0 without failures, their cause when all have the same, else 2."""
    causes = {each.cause for each in findings if each.verdict is Verdict.FAILED}
    if not causes:
        return ExitCode.OK
    return causes.pop() if len(causes) == 1 else ExitCode.FAILED
