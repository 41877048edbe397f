"""Who was expected, who answered and how, who stayed silent; and the exit code.

Pure. Exit codes are a promise to scripts; when several apply, 3 wins, then 4, then 2.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from backplane.choria.rpc import RpcReply, StatusCode

__all__ = ["Answer", "ExitCode", "Outcome", "Stop", "unable"]


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
    UNWRITTEN = 74
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


def unable(answer: Answer) -> bool:
    """Say whether the service does not know the action: an older backplane, or another.

    Nothing happened there; it counts as failed.
    """
    reply = answer.reply
    return reply.status == StatusCode.UNKNOWN_ACTION and reply.message.startswith("Unknown action")


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a request to a fleet.

    :ivar service: the application's name; ``action`` what was asked.
    :ivar discovered: identities that matched, with how many services have each.
    :ivar named: identities that the operator named (``-I``, ``--nodes``).
    :ivar expect: how many services the operator expects, or ``None``.
    :ivar at_least: how many services the operator expects at least, or ``None``.
    :ivar roster: identities that were seen of late and may be meant; ``faded``: seen too long
        ago to be expected.
    :ivar whole: whether all of ``roster`` are meant.
    :ivar sighted: those of both that do not match, or came too late, but are there.
    :ivar late: identities that answered discovery after it had ended.
    :ivar invalid: answers that could not be used, by reason.
    :ivar repeated: identities that answered once more, for each time; not counted.
    :ivar conflicts: those of them that said something else then: somebody may answer in
        their name.
    :ivar unexpected: identities that answered without having been asked.
    :ivar left_out: identities that matched and were not meant, as the operator has set a limit.
    :ivar untouched: identities that were meant and not asked, as the run ended before.
    :ivar halted: why it ended before, in words, where the operator had said when it should.
    :ivar looked: the exit code, where it was only said what would be done.
    :ivar rollout: JSON-able, what was done in which steps, where the operator wanted steps.
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
    at_least: int | None = None
    roster: frozenset[str] = frozenset()
    faded: frozenset[str] = frozenset()
    whole: bool = True
    sighted: frozenset[str] = frozenset()
    late: tuple[str, ...] = ()
    invalid: Mapping[str, int] = attrs.field(factory=dict)
    repeated: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    halted: str = ""
    looked: ExitCode | None = None
    rollout: Mapping[str, Any] | None = None
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
        for name in (*self.left_out, *self.untouched):
            missing.pop(name, None)
        return tuple(sorted(name for name, left in missing.items() for _ in range(left)))

    @property
    def namesakes(self) -> tuple[str, ...]:
        """Identities that more than one service has."""
        return tuple(sorted(name for name, count in self.discovered.items() if count > 1))

    @property
    def missing(self) -> int:
        """How many services fewer than expected answered."""
        unasked = sum(self.discovered[name] for name in (*self.left_out, *self.untouched))
        wanted = self.expect if self.expect is not None else self.at_least
        return max(0, (wanted or 0) - unasked - len(self.answers))

    @property
    def absent(self) -> tuple[str, ...]:
        """Identities that were seen of late, are meant, and gave no sign of life.

        Where the operator says how many there are, and so many answered, nobody is missing.
        """
        counted = self.expect is not None or self.at_least is not None
        if not self.whole or self._undone or (counted and not self.missing):
            return ()
        return tuple(sorted(self._unseen(self.roster)))

    @property
    def perhaps(self) -> tuple[str, ...]:
        """Identities without a sign of life that may be meant.

        With a filter by facts or classes nobody but the instance knows whether it matches.
        Those seen longer ago are among them where fewer answered than the operator expects.
        """
        if self._undone:
            return ()
        names = set(self.roster) if not self.whole else set()
        if self.missing:
            names |= self.faded
        return tuple(sorted(self._unseen(names)))

    @property
    def expected_names(self) -> tuple[str, ...]:
        """Identities that were expected: named, seen of late, or discovered."""
        names = {*self.named, *self.discovered, *self.absent}
        return tuple(sorted(names))

    @property
    def unable(self) -> tuple[str, ...]:
        """Identities of services that do not know the action."""
        return tuple(sorted(answer.sender for answer in self.answers if unable(answer)))

    @property
    def _undone(self) -> bool:
        """Whether it ended before one could know who is there."""
        return self.stop is not None and not self.sent

    def _unseen(self, names: Collection[str]) -> set[str]:
        answered = {answer.sender for answer in self.answers}
        return set(names) - self.discovered.keys() - set(self.late) - self.sighted - answered

    @property
    def exit_code(self) -> ExitCode:
        """See :class:`ExitCode`."""
        if self.stop is not None:
            return self.stop.value
        if self.looked is not None:
            return self.looked
        if self.count and not self.answers:
            return ExitCode.NOBODY_ANSWERED
        if self.silent or self.late or self.missing or self.absent:
            return ExitCode.SILENT
        if not self.count:
            return ExitCode.NOTHING_MATCHED
        if (
            self.halted
            or self.invalid
            or self.conflicts
            or not all(answer.good for answer in self.answers)
        ):
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
        if self.halted:
            return self.halted
        return None if self.answers else "no responses received"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values, sorted by identity."""
        return {
            "service": self.service,
            "agent": self.agent,
            "action": self.action,
            "request_id": self.request_id,
            "run": self.request_id,
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
            "expected_at_least": self.at_least,
            "missing": list(self.absent),
            "missing_count": max(self.missing, len(self.absent)),
            "perhaps_missing": list(self.perhaps),
            "unable": list(self.unable),
            "namesakes": list(self.namesakes),
            "repeated": list(self.repeated),
            "conflicts": list(self.conflicts),
            "unexpected": list(self.unexpected),
            "invalid": dict(self.invalid),
            "discovery_seconds": round(self.discovery_seconds, 6),
            "request_seconds": round(self.request_seconds, 6),
            "error": self.error,
            "exit_code": int(self.exit_code),
            **({"rollout": dict(self.rollout)} if self.rollout is not None else {}),
        }
