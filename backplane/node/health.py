"""The application's health: asked when somebody asks, and what is known of it meanwhile."""

from __future__ import annotations

from typing import Any, Final, Literal

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.choria.facts import clean
from backplane.node.calling import CallError, MethodCalls
from backplane.node.description import describe
from backplane.node.facts import FactSnapshots

__all__ = ["Health", "HealthChecks"]

KEPT: Final = 60.0
"""Seconds for which the last result may stand for one that does not come."""


@attrs.frozen
class Health:
    """What is known of the application's health.

    :ivar result: what the check said, without secrets.
    :ivar state: ``ok`` or ``failed``; ``stale`` when it is the last result, because the
        check has not returned; ``unknown`` when there is none that is young enough.
    :ivar at: the clock when it was checked, or ``None`` when it never was.
    """

    result: Any
    healthy: bool
    state: Literal["ok", "failed", "stale", "unknown"]
    at: float | None


class HealthChecks:
    """Health checks of one application.

    :param calls: of its ``IHealthCheckable``.
    :param facts: say what is a secret.
    :param deadline: seconds that a check may take.
    """

    def __init__(
        self,
        calls: MethodCalls,
        facts: FactSnapshots,
        clock: IReactorTime,
        log: Logger,
        *,
        deadline: float,
    ) -> None:
        self._calls = calls
        self._facts = facts
        self._clock = clock
        self._log = log
        self._deadline = deadline
        self._last: Health | None = None

    async def run(self) -> Health:
        """Check, and wait for the result.

        :raises CallError: when the check does not return in time.
        """
        try:
            result = await self._calls.read("health_check", deadline=self._deadline)
            return self._take(result)
        except (CallError, CancelledError):
            raise
        except Exception:
            return self._failed(Failure())

    def look(self, patience: float) -> Deferred[Health]:
        """Check, and say after ``patience`` seconds at the latest what is known; never fails.

        A check that takes longer goes on, and its result is known next time.
        """
        check = self._calls.read("health_check", deadline=self._deadline)
        check.addCallback(self._take).addErrback(self._failed)
        if check.called:
            return check
        answer: Deferred[Health] = Deferred()
        impatient = self._clock.callLater(patience, lambda: answer.callback(self._known()))

        def checked(health: Health) -> None:
            if impatient.active():
                impatient.cancel()
                answer.callback(health)

        check.addCallback(checked)
        return answer

    def _known(self) -> Health:
        """Return what is known without a check."""
        last = self._last
        at = last.at if last is not None else None
        if last is not None and at is not None and self._clock.seconds() - at < KEPT:
            return attrs.evolve(last, state="stale")
        return Health(None, False, "unknown", at)

    def _take(self, result: object) -> Health:
        value: object = {"error": "health_check() must return (result, ok)"}
        ok: object = False
        # Text of two characters, and a mapping of two keys, could be taken apart as well.
        if isinstance(result, (tuple, list)) and len(result) == 2:
            value, ok = result
        shown, problems = clean(value)
        if problems:
            self._log.debug("health result: {problems}", problems=list(problems)[:5])
        return self._remember(self._facts.masked(shown), bool(ok))

    def _failed(self, failure: Failure) -> Health:
        if failure.check(CallError, CancelledError):
            return self._known()
        self._log.failure("the application's health check failed", failure)
        return self._remember({"error": describe(failure)}, False)

    def _remember(self, result: object, ok: bool) -> Health:
        self._last = Health(result, ok, "ok" if ok else "failed", self._clock.seconds())
        return self._last
