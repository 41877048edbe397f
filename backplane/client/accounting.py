"""Who was expected, who answered and how, who stayed silent; and the exit code.

Pure. Exit codes are a promise to scripts; when several apply, 3 wins, then 4, then 2.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from backplane.choria.rpc import RpcReply, StatusCode

__all__ = ["Answer", "ExitCode", "Outcome", "Stop"]


class ExitCode(enum.IntEnum):
    """What a run came to."""

    OK = 0
    NOTHING_MATCHED = 1
    FAILED = 2
    NOBODY_ANSWERED = 3
    SILENT = 4
    STOPPED = 5
    USAGE = 64
    UNREACHABLE = 69
    CREDENTIALS = 77
    INTERRUPTED = 130


class Stop(enum.Enum):
    """Why a run ended before its time; the values are exit codes."""

    INTERRUPTED = ExitCode.INTERRUPTED
    LOST = ExitCode.UNREACHABLE
    REFUSED = ExitCode.CREDENTIALS
    NOT_SENT = ExitCode.STOPPED


@attrs.frozen
class Answer:
    """One reply.

    :ivar sender: identity of the service.
    :ivar seconds: from sending to its arrival.
    """

    sender: str
    reply: RpcReply
    seconds: float

    @property
    def healthy(self) -> bool:
        """False when it is the reply of a health check that does not say ``true``."""
        return self.reply.action != "health" or self.reply.data.get("healthy") is True

    @property
    def good(self) -> bool:
        """Whether what was asked happened, and nothing in it is amiss."""
        return self.reply.status == StatusCode.OK and self.healthy


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a request to a fleet.

    :ivar service: the application's name; ``action`` what was asked.
    :ivar discovered: identities that matched, with how many services have each.
    :ivar named: identities that the operator named (``-I``, ``--nodes``).
    :ivar expect: how many services the operator expects, or ``None``.
    :ivar late: identities that answered discovery after it had ended.
    :ivar invalid: answers that could not be used, by reason.
    :ivar repeated: identities that answered once more, for each time; not counted.
    :ivar conflicts: those of them that said something else then: somebody may answer in
        their name.
    :ivar unexpected: identities that answered without having been asked.
    :ivar sent: whether the request was sent to anybody.
    :ivar stop: why the run ended before its time, or ``None``; ``reason`` in words.
    :ivar discovery_seconds: from the start to the end of discovery.
    :ivar request_seconds: from sending to the last answer, or to the end of waiting.
    """

    service: str
    agent: str
    action: str
    request_id: str
    discovered: Mapping[str, int]
    answers: tuple[Answer, ...] = ()
    named: frozenset[str] = frozenset()
    expect: int | None = None
    late: tuple[str, ...] = ()
    invalid: Mapping[str, int] = attrs.field(factory=dict)
    repeated: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    sent: bool = True
    stop: Stop | None = None
    reason: str = ""
    discovery_seconds: float = 0.0
    request_seconds: float = 0.0

    @property
    def count(self) -> int:
        """How many services were discovered."""
        return sum(self.discovered.values())

    @property
    def good(self) -> tuple[Answer, ...]:
        """Answers of services where it happened."""
        return tuple(answer for answer in self.answers if answer.reply.ok)

    @property
    def failed(self) -> tuple[Answer, ...]:
        """Answers of services where it failed or was denied."""
        return tuple(answer for answer in self.answers if not answer.reply.ok)

    @property
    def silent(self) -> tuple[str, ...]:
        """Identities that were expected to answer and did not, once for each answer missing."""
        if self.stop is not None and not self.sent:
            return ()  # they were not asked
        missing = Counter(self.discovered)
        missing.subtract(answer.sender for answer in self.answers)
        for name in self.named:
            if name not in self.discovered:
                missing[name] = 1
        return tuple(sorted(name for name, left in missing.items() for _ in range(left)))

    @property
    def namesakes(self) -> tuple[str, ...]:
        """Identities that more than one service has."""
        return tuple(sorted(name for name, count in self.discovered.items() if count > 1))

    @property
    def missing(self) -> int:
        """How many services fewer than expected answered."""
        return max(0, (self.expect or 0) - len(self.answers))

    @property
    def exit_code(self) -> ExitCode:
        """See :class:`ExitCode`."""
        if self.stop is not None:
            return self.stop.value
        if self.count and not self.answers:
            return ExitCode.NOBODY_ANSWERED
        if self.silent or self.late or self.missing:
            return ExitCode.SILENT
        if not self.count:
            return ExitCode.NOTHING_MATCHED
        if self.invalid or self.conflicts or not all(answer.good for answer in self.answers):
            return ExitCode.FAILED
        return ExitCode.OK

    @property
    def error(self) -> str | None:
        """Why nothing came of it, or not all that could have, in words; else ``None``."""
        if self.stop is not None:
            if not self.sent:
                return f"{self.reason}; nothing was sent"
            return f"{self.reason}; {len(self.answers)} of {self.count} had answered"
        if not self.count:
            return "did not discover any nodes"
        return None if self.answers else "no responses received"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values, sorted by identity."""
        return {
            "service": self.service,
            "agent": self.agent,
            "action": self.action,
            "request_id": self.request_id,
            "discovered": sorted(
                name for name, count in self.discovered.items() for _ in range(count)
            ),
            "replies": [
                {
                    "sender": answer.sender,
                    "statuscode": answer.reply.status,
                    "statusmsg": answer.reply.message,
                    "data": dict(answer.reply.data),
                    "seconds": round(answer.seconds, 6),
                }
                for answer in sorted(self.answers, key=lambda answer: answer.sender)
            ],
            "ok": len(self.good),
            "failed": len(self.failed),
            "silent": list(self.silent),
            "late": list(self.late),
            "expected": self.expect,
            "namesakes": list(self.namesakes),
            "repeated": list(self.repeated),
            "conflicts": list(self.conflicts),
            "unexpected": list(self.unexpected),
            "invalid": dict(self.invalid),
            "discovery_seconds": round(self.discovery_seconds, 6),
            "request_seconds": round(self.request_seconds, 6),
            "error": self.error,
            "exit_code": int(self.exit_code),
        }
