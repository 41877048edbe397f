"""What goes into the audit log, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.python.failure import Failure

from backplane.choria.message import Request
from backplane.choria.rpc import ActionError, StatusCode
from backplane.security.audit import AuditEntry, AuditLog

__all__ = ["Auditor", "Record"]

UNWRITTEN = "the audit log cannot be written, and without it nothing may be changed"


class Auditor:
    """Writes the lines of requests, where there is an audit log.

    :param log: open, or ``None``.
    :param now: wall-clock time.
    :param secure: whether callers are verified.
    :param identity: this service's, for what it does by itself.
    """

    def __init__(
        self, log: AuditLog | None, now: Callable[[], float], secure: bool, identity: str = ""
    ) -> None:
        self._identity = identity
        self._log = log
        self._now = now
        self._secure = secure

    def entry(self, request: Request, action: str, data: object, signer: str | None) -> AuditEntry:
        """Return what lines say of a request."""
        return AuditEntry(
            request_id=request.request_id,
            request_time=request.time,
            caller=request.caller_id,
            sender=request.sender_id,
            agent=request.agent,
            action=action,
            data=data,
            signer=signer if self._secure else None,
            secure=self._secure,
        )

    def refused(self, entry: AuditEntry, rule: str) -> None:
        """Write the line of a refusal."""
        if self._log is not None:
            self._log.only(entry, self._now(), allowed=False, rule=rule)

    def unasked(
        self, action: str, caller: str, data: object, request_id: str, outcome: str
    ) -> None:
        """Write the line of what is done by itself, such as the end of a lease.

        :param caller: on whose behalf; ``request_id`` is that of his request.
        """
        if self._log is None:
            return
        now = self._now()
        entry = AuditEntry(
            request_id=request_id,
            request_time=int(now),
            caller=caller,
            sender=self._identity,
            agent="backplane",
            action=action,
            data=data,
            secure=self._secure,
        )
        self._log.only(entry, now, allowed=True, rule="lease", outcome=outcome)

    def begin(self, entry: AuditEntry, rule: str, change: bool) -> Record:
        """Write the line before a change.

        :raises ActionError: when it cannot be written and must be.
        """
        log = self._log
        written = log is None or not change or log.begin(entry, self._now(), rule=rule)
        if log is not None and log.required and not written:
            raise ActionError(UNWRITTEN, StatusCode.UNKNOWN_ERROR)
        return Record(self._log, entry, rule, change, self._now)


@attrs.define
class Record:
    """An action under way, whose last line is still to be written."""

    _log: AuditLog | None
    _entry: AuditEntry
    _rule: str
    _change: bool
    _now: Callable[[], float]
    _began: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._now()

    def ended(self, result: Any) -> Any:
        """Write what came of it; passes ``result`` on."""
        if self._log is None:
            return result
        now = self._now()
        outcome = "failed" if isinstance(result, Failure) else "ok"
        duration = max(0.0, now - self._began)
        if self._change:
            self._log.end(self._entry, now, rule=self._rule, outcome=outcome, duration=duration)
        else:
            self._log.only(
                self._entry,
                now,
                allowed=True,
                rule=self._rule,
                outcome=outcome,
                duration=duration,
            )
        return result
