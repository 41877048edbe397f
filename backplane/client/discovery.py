"""Who is there, and when we know.

Discovery ends at once when everyone who was named or counted has answered. Otherwise,
for reads, a little after the last new answer: a shorter time when all who were seen of late
have answered, as then it is only for newcomers, and the whole time while one of them has not;
for changes, when the whole time is over, so that a slow service is not left out. A fleet
whose answers take a while to come in, or still do when the time is over, is given more of
it. A window given by the operator decides in either case. Pure: time is an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final

import attrs

from backplane.security.names import valid_identity

__all__ = ["Discovery", "DiscoveryRule"]

QUIET: Final = 0.3
"""Seconds after the last new answer at which discovery for a read ends, at least."""

SETTLED: Final = 0.1
"""The same when everybody known has answered and nobody else."""

SHARE: Final = 0.5
"""The same as a share of the time that the answers took so far: where thousands answer, or
the machine is busy, there are longer pauses in between."""

EACH: Final = 0.001
"""The same for each service found, up to :data:`MAX_EACH` seconds: the more there are, the more
answer in turns, with nothing in between."""

MAX_EACH: Final = 2.0

EXTENSION: Final = 5
"""So many times the timeout discovery lasts at most, and only while answers come in."""

MAX_SERVICES: Final = 100_000
"""Services that are counted; more answers than that are not a fleet but a flood."""


@attrs.frozen(kw_only=True)
class DiscoveryRule:
    """When discovery ends.

    :ivar timeout: seconds, at most unless answers still come in then.
    :ivar quiet: seconds after the last new answer, or ``None`` to wait for ``timeout``.
    :ivar exact: neither time grows with the fleet, as the operator has given ``quiet``.
    :ivar named: identities that are all who is meant.
    :ivar expect: how many services there are.
    :ivar known: identities of which all are meant, as far as one knows.
    :ivar awaited: whether discovery goes on while one of them has not answered.
    """

    timeout: float = 2.0
    quiet: float | None = QUIET
    named: frozenset[str] = frozenset()
    expect: int | None = None
    exact: bool = False
    known: frozenset[str] = frozenset()
    awaited: bool = False

    @classmethod
    def choose(
        cls,
        *,
        change: bool,
        timeout: float = 2.0,
        window: float | None = None,
        named: Collection[str] = (),
        expect: int | None = None,
        known: Collection[str] = (),
        awaited: bool = False,
    ) -> DiscoveryRule:
        """Return the rule for a read or a change, or for the operator's ``window``."""
        if window is not None:
            return cls(
                timeout=max(timeout, window),
                quiet=window,
                named=frozenset(named),
                expect=expect,
                exact=True,
            )
        quiet = None if change else QUIET
        return cls(
            timeout=timeout,
            quiet=quiet,
            named=frozenset(named),
            expect=expect,
            known=frozenset(known),
            awaited=awaited,
        )


class Discovery:
    """The answers of one discovery.

    :ivar found: identities, with how many services have each.
    :ivar late: the same for those who answered after the end.
    :ivar refused: answers that name no valid identity, or come beyond the bound.
    :ivar ended: whether :meth:`end` was called.
    """

    def __init__(self, rule: DiscoveryRule, started: float) -> None:
        self.rule = rule
        self.found: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.refused = 0
        self._started = started
        self._last: float | None = None
        self._count = 0
        self._unheard = set(rule.known)
        self.ended = False

    def answered(self, identity: str, now: float) -> bool:
        """Take an answer; say whether it counts."""
        named = self.rule.named
        if not valid_identity(identity) or self._count >= MAX_SERVICES:
            self.refused += 1
            return False
        if named and identity not in named:
            return False
        self._count += 1
        if self.ended and identity not in self.found:
            self.late[identity] += 1
            return False
        # Who shares the identity of one that was found is asked with it, late or not.
        self.found[identity] += 1
        self._unheard.discard(identity)
        self._last = now
        return True

    @property
    def complete(self) -> bool:
        """Whether everyone who is expected has answered."""
        rule = self.rule
        if rule.expect is None and not rule.named:
            return False
        return self.found.total() >= (rule.expect or 0) and rule.named <= self.found.keys()

    def ends(self) -> float:
        """Return when discovery ends if nobody else answers."""
        rule = self.rule
        latest = self._started + rule.timeout
        if self._last is None:
            return latest
        if rule.exact:
            return min(latest, self._last + rule.quiet) if rule.quiet is not None else latest
        enough = self._last + max(
            QUIET, SHARE * (self._last - self._started), min(MAX_EACH, EACH * self._count)
        )
        if rule.quiet is None or (self._unheard and rule.awaited):
            enough = max(enough, latest)
        elif rule.known and not self._unheard and self._count <= len(rule.known):
            enough = self._last + SETTLED  # a newcomer would say that more may come
        return min(enough, self._started + rule.timeout * EXTENSION)

    def end(self) -> None:
        """Whoever answers from now on is late."""
        self.ended = True
