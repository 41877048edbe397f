"""State machines of the parts, tried with whatever order of calls."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel as TwistedLevel
from twisted.logger import LogLevelFilterPredicate
from twisted.trial.unittest import SynchronousTestCase

from backplane.interfaces import LogLevel
from backplane.parts import Breaker, InFlight, LogLevels


class Waiters:
    """Waits of all kinds, and which of them have ended."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.deferreds: list[Deferred[Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []

    def run(self) -> None:
        """Let the tasks run as far as they come."""

        async def turns() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def waiting(self) -> int:
        """Return how many wait, and forget the others."""
        self.run()
        self.deferreds = [each for each in self.deferreds if not each.called]
        self.tasks = [each for each in self.tasks if not each.done()]
        return len(self.deferreds) + len(self.tasks)

    def close(self) -> None:
        """End those that wait."""
        for task in self.tasks:
            task.cancel()
        for deferred in self.deferreds:
            deferred.cancel()
            deferred.addErrback(lambda _: None)
        self.run()
        self.loop.close()


class BreakerMachine(RuleBasedStateMachine):
    """Who waits on a breaker waits exactly while it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.paused = False
        self.heard: list[bool] = []
        self.changes: list[bool] = []
        self.waiters = Waiters()
        self.expected = 0
        self.breaker.on_change(self.heard.append)

    @rule(action=st.sampled_from(["pause", "resume", "flip"]))
    def change(self, action: str) -> None:
        paused = {"pause": True, "resume": False, "flip": not self.paused}[action]
        getattr(self.breaker, action)()
        if paused != self.paused:
            self.changes.append(paused)
        self.paused = paused
        if not paused:
            self.expected = 0

    @rule()
    def wait_deferred(self) -> None:
        self.waiters.deferreds.append(self.breaker.when_closed_deferred())
        self.expected += self.paused

    @rule()
    def wait_task(self) -> None:
        self.waiters.tasks.append(self.waiters.loop.create_task(self.breaker.when_closed()))
        self.waiters.run()
        self.expected += self.paused

    @precondition(lambda self: self.waiters.deferreds)
    @rule()
    def cancel_deferred(self) -> None:
        waiting = self.waiters.deferreds.pop()
        self.expected -= not waiting.called
        waiting.cancel()
        waiting.addErrback(lambda _: None)

    @precondition(lambda self: self.waiters.tasks)
    @rule()
    def cancel_task(self) -> None:
        self.waiters.run()
        task = self.waiters.tasks.pop()
        self.expected -= not task.done()
        task.cancel()

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.paused() is self.paused
        assert self.breaker.wait(0) is not self.paused
        assert self.heard == self.changes
        assert self.waiters.waiting() == self.expected

    def teardown(self) -> None:
        self.waiters.close()
        assert not self.breaker._paused._waiters


class InFlightMachine(RuleBasedStateMachine):
    """The count is what has begun and not ended; who waits for none waits while there is some."""

    pending = Bundle("pending")

    def __init__(self) -> None:
        super().__init__()
        self.flight = InFlight()
        self.count = 0
        self.waiters = Waiters()
        self.expected = 0

    def ended(self) -> None:
        self.count -= 1
        if self.count == 0:
            self.expected = 0

    @rule(target=pending)
    def begin(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.flight.track(lambda: done)()
        self.count += 1
        return done

    @rule(done=consumes(pending), well=st.booleans())
    def end(self, done: Deferred[None], well: bool) -> None:
        if well:
            done.callback(None)
        else:
            done.errback(KeyError())
            done.addErrback(lambda _: None)
        self.ended()

    @rule()
    def pass_through(self) -> None:
        with self.flight:
            assert self.flight.count == self.count + 1

    @rule()
    def wait(self) -> None:
        self.waiters.deferreds.append(self.flight.when_idle_deferred())
        self.waiters.tasks.append(self.waiters.loop.create_task(self.flight.when_idle()))
        self.waiters.run()
        self.expected += 2 if self.count else 0

    @invariant()
    def agrees(self) -> None:
        assert self.flight.count == self.count
        assert self.flight.idle is (self.count == 0)
        assert self.flight.wait(0) is (self.count == 0)
        assert self.waiters.waiting() == self.expected

    def teardown(self) -> None:
        self.waiters.close()


STANDARD = st.sampled_from([logging.NOTSET, 5, 10, 15, 20, 30, 40, 50, 60])
LEVELS = st.sampled_from(list(LogLevel))
TWISTED = st.sampled_from(list(TwistedLevel.iterconstants()))


class LevelsMachine(RuleBasedStateMachine):
    """What was set by operators is put back, and what the program has set since is kept."""

    def __init__(self) -> None:
        super().__init__()
        manager = logging.Manager(logging.RootLogger(logging.WARNING))
        self.loggers = [manager.root, manager.getLogger("a"), manager.getLogger("a.b")]
        self.handlers = [logging.NullHandler() for _ in range(3)]
        for logger, handler in zip(self.loggers, self.handlers, strict=True):
            logger.addHandler(handler)
        self.predicate = LogLevelFilterPredicate()
        self.levels = LogLevels(*self.loggers[1:], self.predicate, handlers=True)
        self.base = self.read()
        self.ours = self.read()
        self.set: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Return every level there is."""
        return {
            **{f"logger {at}": each.level for at, each in enumerate(self.loggers)},
            **{f"handler {at}": each.level for at, each in enumerate(self.handlers)},
            "predicate": self.predicate.logLevelForNamespace(""),
        }

    def programs(self, name: str, level: Any) -> bool:
        """Say whether a level can be told from what operators have set, and note it."""
        if level in (self.ours[name], self.set.get(name)):
            return False
        self.base[name] = self.ours[name] = level
        return True

    @rule(at=st.integers(0, 2), level=STANDARD)
    def program_sets_logger(self, at: int, level: int) -> None:
        if self.programs(f"logger {at}", level):
            self.loggers[at].setLevel(level)

    @rule(at=st.integers(0, 2), level=STANDARD)
    def program_sets_handler(self, at: int, level: int) -> None:
        if self.programs(f"handler {at}", level):
            self.handlers[at].setLevel(level)

    @rule(level=TWISTED)
    def program_sets_predicate(self, level: Any) -> None:
        if self.programs("predicate", level):
            self.predicate.setLogLevelForNamespace("", level)

    @rule(level=LEVELS)
    def operator_sets(self, level: LogLevel) -> None:
        self.levels.set_log_level(level)
        standard = {1: 10, 2: 20, 3: 30, 4: 50}[level]
        managed = {
            "logger 1": standard,
            "logger 2": standard,
            "predicate": TwistedLevel.lookupByName(level.name.lower()),
        }
        self.ours.update(managed)
        back = all(self.base[name] == wanted for name, wanted in managed.items())
        for name, base in self.base.items():
            if name.startswith("handler"):
                self.ours[name] = base if back else min(standard, base)
        self.set = dict(self.ours)
        assert self.levels.get_log_level() is level

    @rule()
    def restore(self) -> None:
        self.levels.restore()
        self.ours = dict(self.base)
        self.set = {}
        assert not self.levels.changed

    @invariant()
    def agrees(self) -> None:
        assert self.read() == self.ours
        assert self.levels.changed or self.ours == self.base

    def teardown(self) -> None:
        self.levels.restore()
        assert self.read() == self.base


class MachineTests(SynchronousTestCase):
    """Each machine."""

    def run_machine(self, machine: type[RuleBasedStateMachine]) -> None:
        case = machine.TestCase
        case.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
        case().runTest()

    def test_breaker(self) -> None:
        self.run_machine(BreakerMachine)

    def test_in_flight(self) -> None:
        self.run_machine(InFlightMachine)

    def test_levels(self) -> None:
        self.run_machine(LevelsMachine)
