"""Leases: ended by the instance when their time is up, and kept over a restart.

A timer fires when the next one is over. As clocks may be set, and machines sleep, the clock is
looked at every half minute whatever the timer says. What cannot be done is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from backplane.change import Step
from backplane.logs import printable
from backplane.node.failing import reason_of, text_of
from backplane.node.history import History

__all__ = ["Leases", "Steps"]

LOOK_AGAIN: Final = 30.0
"""Most seconds between two looks at the clock while there are leases."""

OVERDUE: Final = 1.0
"""Seconds between two looks while a lease is over and could not be ended."""

RETRIES: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds after which it is tried again; the last one holds on."""


class Steps(Protocol):
    """What is needed of the one who carries steps out."""

    def version(self, target: str) -> int:
        """Return a number that differs after each change of a target."""

    async def read(self, target: str) -> str:
        """Return what the application shows."""

    async def carry_out(self, step: Step) -> None:
        """Let the application do a step; enter what came of it."""


class Leases:
    """The leases of one application.

    :param clock: for timers.
    :param now: wall-clock time.
    :ivar unrestored: targets that are not yet what they were before the restart.
    """

    def __init__(
        self,
        history: History,
        steps: Steps,
        clock: IReactorTime,
        now: Callable[[], float],
        log: Logger,
    ) -> None:
        self._history = history
        self._ledger = history.ledger
        self._steps = steps
        self._clock = clock
        self._now = now
        self._log = log
        self._timer: IDelayedCall | None = None
        self._running = False
        self._restoring = 0
        self._waiters: list[Deferred[None]] = []
        self.unrestored: set[str] = set()
        self._ending: set[str] = set()
        self._retries: dict[str, tuple[int, float]] = {}

    @property
    def running(self) -> bool:
        """Whether leases are ended."""
        return self._running

    def start(self) -> None:
        """Let the application be what the ledger holds, but for what is over."""
        self._running = True
        names = self._ledger.names()
        self._restoring = len(names)
        self.unrestored.update(names)
        for name in names:
            self._begin(name).addBoth(self._restored)
        if not names:
            self.schedule()

    def stop(self) -> None:
        """End no more leases."""
        self._running = False
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(CancelledError())

    async def restored(self) -> None:
        """Wait until what was kept is there again, as far as it can be at once."""
        if self._restoring:
            waiter: Deferred[None] = Deferred(self._waiters.remove)
            self._waiters.append(waiter)
            await waiter

    def schedule(self) -> None:
        """Look again when the next lease is over, and before that if clocks may be set."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        due = self._ledger.next_due()
        if not self._running or self._restoring:
            return
        wait = LOOK_AGAIN if due is None else min(LOOK_AGAIN, due - self._now())
        if wait <= 0:
            wait = OVERDUE if self._ending_now() else 0.0
        if self.unrestored:
            wait = min(wait, OVERDUE)
        elif due is None:
            return
        self._timer = self._clock.callLater(wait, self._tick)

    def _ending_now(self) -> bool:
        """Say whether all that is over is being ended, or is to be tried again later."""
        return all(
            self._ledger.busy(target) or target in self._ending or target in self._retries
            for target in self._ledger.due(self._now())
        )

    def _tick(self) -> None:
        self._timer = None
        for target in {*self.unrestored, *self._ledger.due(self._now())}:
            _, at = self._retries.get(target, (0, 0.0))
            if target not in self._ending and at <= self._clock.seconds():
                self._begin(target)
        self.schedule()

    def _begin(self, target: str) -> Deferred[None]:
        self._ending.add(target)
        act: Callable[[str], Coroutine[Any, Any, None]] = self._expire
        if target in self.unrestored:
            act = self._restore
        return Deferred.fromCoroutine(act(target)).addBoth(self._ended, target)

    async def _expire(self, target: str) -> None:
        version = self._steps.version(target)
        gone = False
        try:
            seen = await self._steps.read(target)
        except Exception as error:
            # It is ended all the same: what the ledger holds is the best that is known.
            seen = self._ledger.value(target) or ""
            gone = reason_of(error) == "lacks"
        if self._steps.version(target) != version or not self._running:
            return
        step = self._ledger.expire(target, seen, self._now())
        if step is not None and gone:  # there is nothing that could be put back
            self._ledger.settle(step, step.to, self._now())
            step = None
        self._history.save(target)
        if step is not None:
            await self._steps.carry_out(step)

    def _ended(self, result: Any, target: str) -> None:
        self._ending.discard(target)
        if result is None:
            self._retries.pop(target, None)
        elif self._running:
            count, _ = self._retries.get(target, (0, 0.0))
            wait = RETRIES[min(count, len(RETRIES) - 1)]
            self._retries[target] = (count + 1, self._clock.seconds() + wait)
            self._log.error(
                "{target} could not be made what it has to be, tried again in {wait:g} s: {why}",
                target=target,
                wait=wait,
                why=text_of(result.value),
            )
        self.schedule()

    async def _restore(self, target: str) -> None:
        """Make a target what it was before the restart, but for what is over."""
        ledger = self._ledger
        version = self._steps.version(target)
        seen = await self._steps.read(target)
        if self._steps.version(target) != version:
            self.unrestored.discard(target)  # somebody has changed it meanwhile
            return
        ledger.started(target, seen, self._now())
        # A process that was started anew has not changed anything itself.
        step = ledger.expire(target, ledger.value(target) or seen, self._now())
        if step is not None and step.to == seen:
            ledger.settle(step, seen, self._now())
            step = None
        self._history.save(target)
        if step is None:
            step = ledger.reinstate(target, seen)
        if step is not None:
            await self._steps.carry_out(step)
            self.unrestored.discard(target)
            if step.kind == "reinstate":
                self._history.unasked("reinstate", step, ledger.top(target))
                self._log.info("{what}, as before the restart", what=printable(step.what))
            return
        self.unrestored.discard(target)
        if ledger.value(target) != seen:
            ledger.see(target, seen, self._now())
            self._history.save(target)

    def _restored(self, result: object) -> None:
        self._restoring -= 1
        if self._restoring == 0:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)
            self.schedule()
