"""Changes of one application: what the ledger says is carried out.

What operators ask for becomes a step of the :class:`~backplane.ledger.Ledger`; here the
application is asked what it shows, made to do the step, and asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from backplane.change import Change, Refused, Step
from backplane.choria.rpc import ActionError, StatusCode
from backplane.node.calling import Overdue
from backplane.node.failing import text_of
from backplane.node.history import History
from backplane.node.leases import Leases
from backplane.node.targets import APP, CALL_DEADLINE, Targets

__all__ = ["Asked", "Changes", "Made"]

PATIENCE: Final = 0.8
"""Seconds that is waited for what the application shows before a change."""

SOON: Final = 1.0
"""Seconds that a lease has at least that comes to be late."""


@attrs.frozen
class Made:
    """What came of a change.

    :ivar shown: what the application shows then; ``None`` where it does not say.
    """

    change: Change
    shown: str | None


@attrs.frozen(kw_only=True)
class Asked:
    """Who asks for something, and why.

    :ivar who: caller id.
    :ivar run: id of the request.
    """

    who: str
    run: str = ""
    why: str = ""


class _Budget:
    """Seconds that are left for what one request asks."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._end = clock.seconds() + CALL_DEADLINE

    @property
    def left(self) -> float:
        return max(0.1, self._end - self._clock.seconds())


class Changes:
    """What is changed in one application.

    :param targets: given the ledger's value of a target, returns the application's targets.
    :param clock: for timers.
    :param history: has the ledger.
    :ivar now: wall-clock time.
    """

    def __init__(
        self,
        targets: Callable[[Callable[[str], str | None]], Targets],
        clock: IReactorTime,
        now: Callable[[], float],
        log: Logger,
        history: History,
    ) -> None:
        self._clock = clock
        self.now = now
        self._log = log
        self.history = history
        self.ledger = history.ledger
        self.targets = targets(self.ledger.value)
        self.leases = Leases(history, self, clock, now, log)
        self._versions: Counter[str] = Counter()
        self._under_way: list[Step] = []  # those whose thread was left, too

    def load(self) -> None:
        """Take what earlier processes have kept."""
        self.history.load()

    def start(self) -> None:
        """Let the application be what the ledger holds, and end leases from now on."""
        self.leases.start()

    def stop(self) -> None:
        """End no more leases, and keep nothing more."""
        self.history.close()
        self.leases.stop()
        self.targets.cancel()

    # Changing.

    def budget(self) -> _Budget:
        """Return the seconds that the application has for what is asked now."""
        return _Budget(self._clock)

    async def make(
        self,
        asked: Asked,
        target: str,
        to: str,
        *,
        seconds: float | None = None,
        expect: str | None = None,
        method: str = "",
        lenient: bool = False,
    ) -> Made:
        """Change a target.

        :param to: what it is to be; ``flip`` for the other of running and paused.
        :param seconds: after which it is taken back; ``None`` for a change that lasts.
        :param method: see :meth:`~backplane.node.targets.Targets.apply`.
        :param lenient: go on where the application does not say what it is.
        :raises ActionError: when it is refused, or the application shows something else then.
        :raises BaseException: what the application's methods raise.
        """
        await self.leases.restored()
        budget = self.budget()
        seen = await self.seen(target, lenient)
        if to == "flip":
            to = "paused" if seen == "running" else "running"
        now = self.now()
        step = self.ledger.propose(
            target,
            to,
            who=asked.who,
            seen=seen,
            now=now,
            why=asked.why,
            until=None if seconds is None else now + seconds,
            run=asked.run,
            expect=expect,
        )
        if isinstance(step, Refused):
            self.history.save(target)
            status = StatusCode.UNKNOWN_ERROR if lenient else StatusCode.ABORTED
            raise ActionError(step.text, status, {"reason": step.reason})
        assert step.makes is not None
        return Made(step.makes, await self._done(step, budget, method, lenient))

    def amend(self, asked: Asked, change: str, seconds: float) -> Change:
        """Give a lease another end, ``seconds`` from now.

        :raises ActionError: when it is refused.
        """
        now = self.now()
        found = self.ledger.amend(change, now + seconds, who=asked.who, now=now, why=asked.why)
        self.history.accounted(asked.run)
        known = self.ledger.change(change)
        self.history.save(*([known.target] if known is not None else []))
        if isinstance(found, Refused):
            raise ActionError(found.text, data={"reason": found.reason})
        self.leases.schedule()
        return found

    def version(self, target: str) -> int:
        """Return a number that differs after each change of a target."""
        return self._versions[target]

    async def carry_out(self, step: Step, budget: _Budget | None = None) -> None:
        """Let the application do a step; enter what came of it.

        :raises BaseException: what the application's methods raise.
        """
        await self._done(step, budget or self.budget())

    async def _done(
        self, step: Step, budget: _Budget, method: str = "", lenient: bool = False
    ) -> str | None:
        """Do a step; return what the application shows, ``None`` where it does not say."""
        target = step.target
        self._under_way.append(step)
        self._touched(target)
        if step.kind != "reinstate":
            self.leases.unrestored.discard(target)
        try:
            restored = await self.targets.apply(
                target, step.to, budget.left, method=method, restores=step.restores
            )
            seen = await self._shown_after(step, budget, lenient, restored)
        except BaseException as error:
            self._failed(step, error)
            raise
        self._touched(target)
        done = self.ledger.settle(step, seen or step.to, self.now(), restored=restored)
        self._returned(step)
        self.history.save(target)
        self.leases.schedule()
        if not done and not lenient:
            raise ActionError(
                f"{target} did not become {step.to}: the application shows {seen}",
                StatusCode.UNKNOWN_ERROR,
                {"reason": "failed"},
            )
        return seen

    async def _shown_after(
        self, step: Step, budget: _Budget, lenient: bool, restored: bool
    ) -> str | None:
        try:
            seen = await self.targets.read(step.target, budget.left, taken_for=step.to)
            if seen != step.to and not restored:
                # It may be of a look that began before the step.
                seen = await self.targets.read(step.target, budget.left, taken_for=step.to)
        except Exception:
            if not lenient:
                raise
            return None
        return seen

    def _failed(self, step: Step, error: BaseException) -> None:
        self._touched(step.target)
        self.ledger.fail(step, text_of(error), self.now())
        if step.kind == "expire":
            self.history.unasked("expire", step, step.ends[-1], "failed")
        self.history.save(step.target)
        self.leases.schedule()
        if isinstance(error, GeneratorExit) or not self.leases.running:
            self._returned(step)
            return
        left = error.left if isinstance(error, Overdue) else None
        self._look_at(step, last=left is None)
        if left is not None:
            left.addCallback(lambda _: self._look_at(step, last=True))

    def _look_at(self, step: Step, last: bool) -> None:
        """See what a step that failed has done all the same, now or in a thread later.

        :param last: whether it does nothing more afterwards.
        """
        looked = Deferred.fromCoroutine(self._look_after(step)).addErrback(
            lambda failure: self._log.failure("the application was not seen", failure)
        )
        if last:
            looked.addCallback(lambda _: self._returned(step))

    def _returned(self, step: Step) -> None:
        """A step is not under way any more."""
        if step in self._under_way:
            self._under_way.remove(step)

    def under_way(self, run: str) -> Step | None:
        """Return what a run wants and the application has not done yet, ``None`` for nothing."""
        steps = (step for step in self._under_way if step.makes and step.makes.run == run)
        return next(steps, None)

    async def _look_after(self, step: Step) -> None:
        target, ledger = step.target, self.ledger
        version = self._versions[target]
        try:
            seen = await self.targets.read(target, CALL_DEADLINE, PATIENCE, step.to)
        except Exception:
            return
        if not self.leases.running or ledger.busy(target) or self._versions[target] != version:
            return
        if target in self.leases.unrestored:
            return  # it is tried again
        now, held = self.now(), ledger.value(target) or seen
        again: Step | Refused | None = None
        if seen == step.to != held:
            # It is what was asked for, and is taken back in time like any other.
            makes = step.makes
            if makes is not None:
                until = None if makes.until is None else max(makes.until, now + SOON)
                again = ledger.propose(
                    target,
                    step.to,
                    who=step.who,
                    seen=held,
                    now=now,
                    why=step.why,
                    until=until,
                    run=makes.run,
                )
            elif step.kind == "end" and step.restores:
                again = ledger.end_all(target, who=step.who, seen=held, now=now, why=step.why)
            elif step.kind == "end":
                again = ledger.end(step.ends[0].id, who=step.who, seen=held, now=now, why=step.why)
            elif step.kind == "expire":
                again = ledger.expire(target, held, now)
        if isinstance(again, Step):
            ledger.settle(again, seen, now, restored=again.restores)
        else:
            ledger.see(target, seen, now)
        self._touched(target)
        self.history.save(target)
        self.leases.schedule()

    # Seeing.

    def seconds_until(self, time: str) -> float:
        """Return the seconds until a Unix time in a text; 0 for what is none."""
        try:
            return float(time) - self.now()
        except ValueError:
            return 0.0

    def time_in(self, seconds: float) -> str:
        """Return the Unix time in some seconds as a text."""
        return f"{self.now() + seconds:.3f}"

    async def read(self, target: str) -> str:
        """Return what the application shows; waits little."""
        return await self.targets.read(target, CALL_DEADLINE, PATIENCE)

    async def seen(self, target: str, lenient: bool = False) -> str:
        """Return what the application shows, of a time when nothing was changing.

        :param lenient: go on with what the ledger holds where it does not say.
        """
        for _ in range(3):
            version = self._versions[target]
            try:
                seen = await self.read(target)
            except Exception:
                if not lenient:
                    raise
                return self.ledger.value(target) or {APP: "running"}.get(target, "unknown")
            if self._versions[target] == version:
                break
        return seen

    async def look(self, target: str) -> str:
        """Return what a target is, and take notice of what the application has done."""
        version = self._versions[target]
        try:
            seen = await self.read(target)
        except Exception:
            return self.ledger.value(target) or "unknown"
        if self._versions[target] == version and target not in self.leases.unrestored:
            self.ledger.see(target, seen, self.now())
            if self.history.pending:
                self._touched(target)
                self.history.save(target)
        return seen

    def _touched(self, target: str) -> None:
        self._versions[target] += 1
