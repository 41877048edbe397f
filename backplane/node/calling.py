"""How methods of an application are called: plain, Deferred, coroutine, or in a thread.

One rule book for every call into the application:

* One call of one method at a time. While it runs, further callers of a *read*
  share its result, and a *change* is refused.
* Every call has a deadline. Past it the callers get :class:`Overdue`; a
  Deferred or coroutine is cancelled, a thread cannot be, so it is left and
  counted, and no second one is started for that method until it returns.
* How it is called is said in :mod:`backplane.node.invoking`. "One call of one
  method at a time" bounds the number of threads, so there is no pool that a hung
  thread could keep from stopping.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from backplane.errors import LocalError
from backplane.node.invoking import CallMode, ThreadRunner, in_thread, invoke

__all__ = ["Busy", "CallError", "MethodCalls", "Overdue"]

MAX_WAITERS = 1000
"""Callers that may share one running call; more than that is a flood."""


class CallError(LocalError):
    """A method of the application could not be called, or did not return in time."""


class Busy(CallError):
    """The same method is still running, or too many wait for it."""


class Overdue(CallError):
    """The method has not returned within its deadline.

    :ivar method: its name.
    :ivar age: seconds since it was called.
    :ivar left: where a thread was left: fires when it returns after all.
    """

    def __init__(self, method: str, age: float, left: Deferred[None] | None = None) -> None:
        self.method = method
        self.age = age
        self.left = left
        super().__init__(f"{method} has not returned after {age:.0f} s")


@attrs.define(eq=False)
class _Running:
    method: str
    started: float
    threaded: bool
    waiters: list[Deferred[Any]] = attrs.field(factory=list)
    call: Deferred[Any] | None = None
    deadline: IDelayedCall | None = None
    overdue: bool = False
    done: bool = False
    left: Deferred[None] | None = None


class MethodCalls:
    """Calls of one provided object's methods.

    :param provided: the application's object.
    :param clock: for deadlines.
    :param threads: runs a function in a thread, see :func:`run_in_thread`.
    :param mode: how unmarked methods are called.
    """

    def __init__(
        self,
        provided: object,
        clock: IReactorTime,
        threads: ThreadRunner,
        mode: CallMode = "reactor",
    ) -> None:
        self.provided = provided
        self._clock = clock
        self._threads = threads
        self._mode = mode
        self._running: dict[str, _Running] = {}

    def of(self, provided: object) -> MethodCalls:
        """Return calls of another object, which are made as those of this one."""
        return MethodCalls(provided, self._clock, self._threads, self._mode)

    @property
    def overdue(self) -> int:
        """How many calls have not returned although their deadline has passed."""
        return sum(1 for running in self._running.values() if running.overdue)

    def age(self, method: str) -> float | None:
        """Return since how many seconds ``method`` has been running, or ``None``."""
        running = self._running.get(method)
        return None if running is None else self._age(running)

    def read(self, method: str, *, deadline: float, patience: float | None = None) -> Deferred[Any]:
        """Call a method that changes nothing, or share the call that is running.

        :param deadline: seconds that the call may take.
        :param patience: seconds that this caller waits, when less than ``deadline``.
        :returns: its result; fails with :class:`Overdue`, :class:`Busy`, or what it raised.
        """
        running = self._running.get(method)
        if running is None:
            return self._call(method, (), deadline, patience)
        if running.overdue:
            return fail(Overdue(method, self._age(running)))
        if len(running.waiters) >= MAX_WAITERS:
            return fail(Busy(f"{method} is running and {MAX_WAITERS} callers wait for it"))
        return self._join(running, patience)

    def change(self, method: str, *args: object, deadline: float) -> Deferred[Any]:
        """Call a method that changes something; never shared.

        :returns: its result; fails with :class:`Overdue`, :class:`Busy`, or what it raised.
        """
        running = self._running.get(method)
        if running is not None:
            return fail(Busy(f"{method}, called {self._age(running):.0f} s ago, has not returned"))
        return self._call(method, args, deadline, None)

    def cancel(self) -> None:
        """Cancel what can be cancelled and leave the threads; for stopping."""
        for running in list(self._running.values()):
            _cancel(running.deadline)
            self._abandon(running, Failure(CancelledError()))

    def _age(self, running: _Running) -> float:
        return self._clock.seconds() - running.started

    def _call(
        self, method: str, args: tuple[object, ...], deadline: float, patience: float | None
    ) -> Deferred[Any]:
        try:
            function = getattr(self.provided, method)
        except Exception:  # the objects of others may do anything
            return fail()
        threaded = in_thread(self._mode, function, method)
        running = _Running(method, self._clock.seconds(), threaded)
        self._running[method] = running
        waiter = self._join(running, patience)
        running.call = invoke(self._mode, self._threads, function, *args, method=method)
        running.call.addBoth(self._finished, running)
        if not running.done:
            running.deadline = self._clock.callLater(deadline, self._overdue, running)
        return waiter

    def _join(self, running: _Running, patience: float | None) -> Deferred[Any]:
        waiter: Deferred[Any] = Deferred(running.waiters.remove)
        running.waiters.append(waiter)
        if patience is not None:
            impatient = self._clock.callLater(patience, self._give_up, running, waiter)

            def answered(result: object) -> object:
                _cancel(impatient)
                return result

            waiter.addBoth(answered)
        return waiter

    def _give_up(self, running: _Running, waiter: Deferred[Any]) -> None:
        running.waiters.remove(waiter)
        waiter.errback(Overdue(running.method, self._age(running)))

    def _finished(self, result: object, running: _Running) -> None:
        running.done = True
        _cancel(running.deadline)
        if self._running.get(running.method) is running:
            del self._running[running.method]
        waiters, running.waiters = running.waiters, []
        for waiter in waiters:
            waiter.callback(result)
        if running.left is not None:
            running.left.callback(None)

    def _overdue(self, running: _Running) -> None:
        running.overdue = True
        if running.threaded:
            running.left = Deferred()
        self._abandon(running, Failure(Overdue(running.method, self._age(running), running.left)))

    def _abandon(self, running: _Running, why: Failure) -> None:
        """Tell the waiters and end the call, as far as it can be ended."""
        waiters, running.waiters = running.waiters, []
        if running.call is not None and not running.threaded:
            running.call.cancel()
        for waiter in waiters:
            waiter.errback(why)


def _cancel(delayed: IDelayedCall | None) -> None:
    if delayed is not None and delayed.active():
        delayed.cancel()
