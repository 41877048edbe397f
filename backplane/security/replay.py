"""The memory of requests that were already acted upon.

A request is good until its time to live is over, and nothing in protocol 1
keeps a captured one from being sent again before that. So the SHA-256 of the
bytes that were signed is remembered until the last valid second, for reads
too, in the insecure mode too.

The memory is bounded in all and for each caller. When a caller's share is full,
his further changes are refused (he is told; they could not be told apart from
repeats later) and his reads pass unremembered. Both are counted.

The clock may go backwards. Entries whose time is over are therefore not thrown
away at once: they stop counting against anybody's share and are kept for
:data:`GRACE` seconds more, so that after a step back of less than that they are
still known. After a larger step a document may be one that was forgotten; it is
then treated as if there were no room for it.

Pure: time is an argument, and so is what keeps the memory on disk. Cost of a check:
amortised O(log n).
"""

from __future__ import annotations

import enum
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["GRACE", "MAX_PER_CALLER", "MAX_TOTAL", "ReplayMemory", "Verdict"]

MAX_TOTAL: Final = 32_768
"""Requests remembered in all: 500 a second at a time to live of 60 s, about
10 MiB."""

MAX_PER_CALLER: Final = 4_096
"""Requests remembered for one caller: 68 a second at a time to live of 60 s,
far above what people and monitoring ask for."""

GRACE: Final = 600.0
"""Seconds that an entry is kept past its end; corrections of a clock by time
daemons and resumed virtual machines are smaller as a rule."""


DIGEST: Final = 32
"""Bytes of a digest."""


class Verdict(enum.Enum):
    """What the memory says of a request."""

    FRESH = "fresh"
    """Not seen before, and remembered from now on."""

    REPEATED = "repeated"
    """Seen before: it must not act again."""

    UNREMEMBERED = "unremembered"
    """A read that found no room: it may be answered."""

    FULL = "full"
    """A change that found no room: it must be refused, with a reply."""

    UNCERTAIN = "uncertain"
    """A change of a time of which the memory has forgotten some (the clock was
    set back): it must be refused, with a reply."""

    UNSAVED = "unsaved"
    """A change that could not be written down: it must be refused, with a reply."""


class _Share:
    """How many live requests a caller has; one object, so one copy of his name."""

    __slots__ = ("caller_id", "count")

    def __init__(self, caller_id: str) -> None:
        self.caller_id = caller_id
        self.count = 0


class ReplayMemory:
    """Remembers requests until they are no longer valid.

    :ivar repeated: how many were refused as repeats.
    :ivar unremembered: how many reads passed without being remembered.
    :ivar refused: how many changes found no room.
    """

    def __init__(
        self,
        max_total: int = MAX_TOTAL,
        max_per_caller: int = MAX_PER_CALLER,
        keep: Callable[[bytes, str, float], bool] | None = None,
    ) -> None:
        """
        :param max_total: requests remembered in all, at least 1.
        :param max_per_caller: requests remembered for one caller, at least 1.
        :param keep: writes digest, caller and end of a request down that is about to be
            remembered; says whether another process will know of it.
        """
        if max_total < 1 or max_per_caller < 1:
            raise ValueError("a replay memory needs room for at least one request")
        self._max_total = max_total
        self._max_per_caller = max_per_caller
        self._keep = keep
        self._known: set[bytes] = set()
        # Those that count against the shares, soonest end first.
        self._live: list[tuple[float, bytes, _Share]] = []
        self._shares: dict[str, _Share] = {}
        # Those that are over but kept for the case that the clock goes back.
        self._over: deque[tuple[float, bytes]] = deque()
        # The latest end of anything that was forgotten.
        self._forgotten_until = float("-inf")
        self.repeated = 0
        self.unremembered = 0
        self.refused = 0

    def __len__(self) -> int:
        """Return how many requests count against the bound at present."""
        return len(self._live)

    def share_of(self, caller_id: str) -> int:
        """Return how many of a caller's requests count against his share."""
        share = self._shares.get(caller_id)
        return share.count if share is not None else 0

    def check(
        self, digest: bytes, caller_id: str, valid_until: float, now: float, change: bool
    ) -> Verdict:
        """Look a request up, and remember it when it is new.

        :param digest: SHA-256 of the signed bytes.
        :param caller_id: the verified caller.
        :param valid_until: Unix time from which the request is too old. The
            caller of this method has made sure that it lies in the future and
            not beyond the cap on times to live.
        :param now: Unix time.
        :param change: whether the request would change anything.
        """
        self.expire(now)
        if digest in self._known:
            self.repeated += 1
            return Verdict.REPEATED
        uncertain = valid_until <= self._forgotten_until
        if (
            uncertain
            or len(self._live) >= self._max_total
            or self.share_of(caller_id) >= self._max_per_caller
        ):
            if not change:
                self.unremembered += 1
                return Verdict.UNREMEMBERED
            self.refused += 1
            return Verdict.UNCERTAIN if uncertain else Verdict.FULL
        if self._keep is not None and not self._keep(digest, caller_id, valid_until) and change:
            self.refused += 1
            return Verdict.UNSAVED
        self._add(digest, caller_id, valid_until)
        return Verdict.FRESH

    def _add(self, digest: bytes, caller_id: str, valid_until: float) -> None:
        self._known.add(digest)
        share = self._shares.setdefault(caller_id, _Share(caller_id))
        share.count += 1
        # Digests differ, so that the heap never compares shares.
        heapq.heappush(self._live, (valid_until, digest, share))

    def entries(self) -> Iterator[tuple[bytes, str, float]]:
        """Return digest, caller and end of all that is known; what is over has no caller."""
        for valid_until, digest in self._over:
            yield digest, "", valid_until
        for valid_until, digest, share in self._live:
            yield digest, share.caller_id, valid_until

    def restore(self, digest: bytes, caller_id: str, valid_until: float) -> bool:
        """Remember what :meth:`entries` said; call :meth:`expire` when all are there.

        :returns: whether there was room for it.
        """
        if digest in self._known:
            return True
        if len(self._known) >= 2 * self._max_total or len(digest) != DIGEST:
            return False
        self._add(digest, caller_id, valid_until)
        return True

    @property
    def forgotten_until(self) -> float:
        """The latest end of anything that was forgotten, Unix time; ``-inf`` for nothing."""
        return self._forgotten_until

    def forget_until(self, end: float) -> None:
        """Take it that everything up to an end may have been forgotten."""
        self._forgotten_until = max(self._forgotten_until, end)

    def expire(self, now: float) -> None:
        """Let go of what is over at a time, Unix seconds."""
        while self._live and self._live[0][0] <= now:
            valid_until, digest, share = heapq.heappop(self._live)
            share.count -= 1
            if not share.count:
                del self._shares[share.caller_id]
            self._over.append((valid_until, digest))
        while self._over and (len(self._over) > self._max_total or self._over[0][0] <= now - GRACE):
            valid_until, digest = self._over.popleft()
            self._known.discard(digest)
            self._forgotten_until = max(self._forgotten_until, valid_until)
