"""Health checks of named components, each with a deadline of its own, all at the same time."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from backplane.interfaces import IHealthCheckable, nonblocking
from backplane.node.description import describe
from backplane.parts.places import Kind, OnLoop, OnReactor, here, kind_of
from backplane.parts.running import Run
from backplane.parts.waiting import awaited

__all__ = ["HealthChecks"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Report = tuple[dict[str, Any], bool]

_log = Logger(namespace="backplane.parts.health")

TIMEOUT: Final = 5.0
"""Seconds that a component has; an operator waits for the whole check 8.75 s."""

_MOMENT: Final = 0.001
# Seconds by which timers may be early.


@attrs.define(eq=False)
class _Component:
    name: str
    function: Callable[[], Any]
    kind: Kind
    timeout: float
    run: Run | None = None


@implementer(IHealthCheckable)
class HealthChecks:
    """A registry of components and how each is checked.

    ::

        @health.check("db", timeout=2)
        def database():
            connection.execute("select 1")

    A check is healthy unless it raises, or returns ``False``, or ``(detail, False)``. Whatever
    else it returns is its detail. A plain function may block: it is called in a thread.
    A coroutine is a task of ``loop``, else of the loop that the check is asked for on, else a
    coroutine of Twisted's where it is asked for on a reactor, else it has a loop of its own in
    a thread. A function that returns a Deferred is called on the program's reactor.

    Every method may be called in any thread.

    :param timeout: seconds for components that do not say.
    :param loop: where coroutines belong, wherever the check is asked for; may be set later.
    :param reactor: where functions that return Deferreds belong when the check is asked for
        in a thread. In tests, a ``Clock``: then time is its own, nothing blocks, and plain
        functions are called at once.
    """

    def __init__(
        self,
        *,
        timeout: float = TIMEOUT,
        loop: asyncio.AbstractEventLoop | None = None,
        reactor: Any = None,
    ) -> None:
        self.loop = loop
        self._timeout = _positive(timeout)
        self._reactor = reactor
        self._clock = None if reactor is None or hasattr(reactor, "callFromThread") else reactor
        self._seconds = time.monotonic if self._clock is None else self._clock.seconds
        self._components: dict[str, _Component] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The components, in the order in which they were added."""
        return list(self._components)

    def check(
        self, name: str, *, timeout: float | None = None, deferred: bool | None = None
    ) -> Callable[[_Function], _Function]:
        """Return a decorator that adds a component; see :meth:`add`."""

        def decorate(function: _Function) -> _Function:
            self.add(name, function, timeout=timeout, deferred=deferred)
            return function

        return decorate

    def add(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        timeout: float | None = None,
        deferred: bool | None = None,
    ) -> None:
        """Add a component.

        :param function: takes no arguments.
        :param timeout: seconds that it may take.
        :param deferred: says that it returns a Deferred, or is a coroutine that awaits them,
            where its annotation does not.
        :raises ValueError: for a name that is taken or empty, or a timeout of zero.
        :raises TypeError: for a generator function.
        """
        seconds = self._timeout if timeout is None else _positive(timeout)
        component = _Component(name, function, kind_of(function, deferred), seconds)
        with self._lock:
            if not name or name in self._components:
                raise ValueError(f"{name!r} is empty, or a component already")
            self._components[name] = component

    def remove(self, name: str) -> None:
        """Remove a component; one that is not known is none."""
        with self._lock:
            self._components.pop(name, None)

    @nonblocking
    def health_check(self) -> _Report | Deferred[_Report]:
        """Check all components.

        What still runs since an earlier check is not started again: its result is shared, or,
        past its deadline, it is reported as what has not returned.

        :returns: ``({"db": {"ok": True, "detail": None, "seconds": 0.01}}, ok)``; a Deferred
            of it where a loop or a reactor runs in this thread.
        """
        place = here() if self._clock is None else OnReactor(self._clock)
        runs, new = self._runs()
        for run in new:
            run.begin(place, self.loop, self._reactor)
        if place is not None:
            return _Gathering(runs, new, place, self._seconds).result
        for component, run in runs.items():
            try:
                run.future.exception(max(0.0, component.timeout - run.age))
            except FutureTimeoutError:
                run.cancel()
        return _report(runs)

    async def run(self) -> _Report:
        """Check all components; in asyncio, and in coroutines of Twisted's."""
        found = self.health_check()
        return await awaited(found) if isinstance(found, Deferred) else found

    def _runs(self) -> tuple[dict[_Component, Run], list[Run]]:
        """Return a run for each component, and those that have yet to begin."""
        runs, new = {}, []
        with self._lock:
            for component in self._components.values():
                run = component.run
                if run is None or not run.running:
                    name = f"health-{component.name}"
                    run = Run(component.function, component.kind, name, self._seconds)
                    component.run = run
                    new.append(run)
                runs[component] = run
        return runs, new


class _Gathering:
    """Waits for runs where a thread must not be blocked."""

    def __init__(
        self,
        runs: Mapping[_Component, Run],
        new: list[Run],
        place: OnLoop | OnReactor,
        seconds: Callable[[], float],
    ) -> None:
        self._runs = runs
        self._new = new
        self._place = place
        self._timer: Callable[[], None] | None = None
        self._over = False
        self.result: Deferred[_Report] = Deferred(self._cancelled)
        for run in runs.values():
            if not run.future.done():
                run.future.add_done_callback(lambda _: place.post(self._look))
        self._look()

    def _look(self) -> None:
        """Report when there is nothing left to wait for; look again when there is."""
        if self._over:
            return
        for component, run in self._runs.items():
            if component.timeout - run.age <= _MOMENT:
                run.cancel()
        if self._over:  # what was cancelled may have come here itself
            return
        self._stop_timer()
        left = [
            component.timeout - run.age
            for component, run in self._runs.items()
            if not run.future.done() and component.timeout - run.age > _MOMENT
        ]
        if left:
            self._timer = self._place.later(min(left), self._look)
        else:
            self._over = True
            self.result.callback(_report(self._runs))

    def _cancelled(self, _: object) -> None:
        """End what was begun here: nobody else looks after its deadline."""
        self._over = True
        self._stop_timer()
        for run in self._new:
            run.cancel()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer()


def _report(runs: Mapping[_Component, Run]) -> _Report:
    found = {component.name: _finding(component, run) for component, run in runs.items()}
    return found, all(each["ok"] for each in found.values())


def _finding(component: _Component, run: Run) -> dict[str, Any]:
    ok, detail = False, f"has not returned after {run.age:.3g} s"
    if run.future.done():
        ok, detail = _judged(component, run)
    return {"ok": ok, "detail": detail, "seconds": round(run.age, 3)}


def _judged(component: _Component, run: Run) -> tuple[bool, Any]:
    error = run.future.exception()
    late = run.age > component.timeout + _MOMENT
    if isinstance(error, (CancelledError, asyncio.CancelledError)):
        overdue = run.age > component.timeout - _MOMENT
        return False, f"has not returned after {run.age:.3g} s" if overdue else "was cancelled"
    if error is None:
        result = run.future.result()
        if late:
            return False, f"has taken {run.age:.3g} s"
        if isinstance(result, bool):
            return result, None
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], bool):
            return result[1], result[0]
        return True, result
    text = describe(error)
    # Without the error itself, whose text may hold a secret.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.debug(
        "health check {name}: {text}\n{frames}", name=component.name, text=text, frames=frames
    )
    return False, text


def _positive(seconds: float) -> float:
    if not seconds > 0:
        raise ValueError(f"a timeout of {seconds!r} s")
    return float(seconds)
