"""The audit log: who asked for what, whether he was allowed to, and what came of it.

A read or a refusal is one line, a change two: ``begin`` before the act and
``end`` after it. What a line holds is in :mod:`backplane.security.auditchain`,
how it gets into a file in :mod:`backplane.security.auditfile`, and how files are
verified in :mod:`backplane.security.auditverify`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backplane.security.auditchain import AuditEntry, Phase, build_line
from backplane.security.auditfile import AuditError, ChainFile, reason

__all__ = ["AuditEntry", "AuditError", "AuditLog"]


class AuditLog:
    """The audit log of one service; all of it belongs to one thread.

    Lines are given to the operating system before a method returns. They are
    not forced to the disk, so a power failure may take the last ones.

    :param path: absolute path.
    :param required: a change is refused when its ``begin`` cannot be written.
        It is for the caller to ask: see :attr:`required`.
    :param mask: given the inputs of a request, returns them without secrets.
    :param report: told once per cause why lines cannot be written, and anything
        else that an administrator must know.
    :param mode: permissions; an existing file that allows more is tightened.
    :ivar lost: how many lines could not be written since the start.
    :ivar failing: why lines cannot be written at present, or ``None``.
    """

    def __init__(
        self,
        path: str,
        required: bool,
        *,
        mask: Callable[[Any], Any],
        report: Callable[[str], None] = lambda text: None,
        mode: int = 0o600,
    ) -> None:
        self.path = path
        self.required = required
        self.lost = 0
        self.failing: str | None = None
        self._mask = mask
        self._report = report
        self._file = ChainFile(path, mode, report)
        self._untold = 0  # lost lines that no line tells of yet

    def open(self) -> None:
        """Take the file and continue its chain.

        :raises AuditError: when it cannot be written, or another process has it.
        """
        self._file.open()

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._file.close()

    def only(
        self,
        entry: AuditEntry,
        now: float,
        *,
        allowed: bool,
        rule: str,
        outcome: str | None = None,
        duration: float | None = None,
    ) -> bool:
        """Write the one line of a read or of a refusal; say whether that worked.

        :param now: seconds since 1970.
        :param rule: what decided, such as ``full``, ``line 7`` or the reason of a refusal.
        :param outcome: what came of it, such as ``ok`` or ``failed``.
        :param duration: seconds that it took.
        """
        return self._write(entry, now, Phase.ONLY, allowed, rule, outcome, duration)

    def begin(self, entry: AuditEntry, now: float, *, rule: str) -> bool:
        """Write the line before a change; parameters as :meth:`only`.

        :returns: whether it is in the file. Where the log is :attr:`required`
            and it is not, the change must be refused.
        """
        return self._write(entry, now, Phase.BEGIN, True, rule, None, None)

    def end(
        self, entry: AuditEntry, now: float, *, rule: str, outcome: str, duration: float
    ) -> bool:
        """Write the line after a change; parameters as :meth:`only`."""
        return self._write(entry, now, Phase.END, True, rule, outcome, duration)

    def _write(
        self,
        entry: AuditEntry,
        now: float,
        phase: Phase,
        allowed: bool,
        rule: str,
        outcome: str | None,
        duration: float | None,
    ) -> bool:
        file = self._file
        try:
            file.find()
            line = build_line(
                entry,
                now,
                phase=phase,
                decision="allow" if allowed else "deny",
                rule=rule,
                outcome=outcome,
                duration=duration,
                link=(file.seq + 1, file.head),
                mask=self._mask,
                lost=self._untold,
                torn=file.torn,
            )
            file.append(line)
        except OSError as error:
            self._failed(reason(error))
            return False
        self._untold = 0
        if self.failing is not None:
            self.failing = None
            self._report(f"audit log {self.path}: is written again; lines lost: {self.lost}")
        return True

    def _failed(self, why: str) -> None:
        self.lost += 1
        self._untold += 1
        if why != self.failing:
            self.failing = why
            self._report(f"audit log {self.path}: cannot be written: {why}")
