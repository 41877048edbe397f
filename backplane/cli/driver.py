"""The reactor of a command: it runs until the command is done or interrupted.

The first interrupt ends the run in good order, with what is known so far; a second
one ends the process at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backplane.cli.faults import Fault
from backplane.client.accounting import ExitCode
from backplane.reactors.names import ImpatientResolver

__all__ = ["run"]

_SIGNALS: Final = ("SIGINT", "SIGTERM")


def run(begin: Callable[[Any], tuple[Deferred[ExitCode], Callable[[], None]]]) -> ExitCode:
    """Run the reactor until a command is done.

    :param begin: begins with the reactor; returns what fires at the end, and what interrupts.
    :raises Fault: as the command fails; and when it was interrupted before it began.
    """
    from twisted.internet import reactor as default

    reactor: Any = default
    reactor.installNameResolver(ImpatientResolver(reactor))
    ended: list[ExitCode | Failure] = []

    def start() -> None:
        try:
            done, interrupt = begin(reactor)
        except Exception:
            over(Failure())
            return
        _catch(reactor, interrupt)
        done.addBoth(over)

    def over(result: ExitCode | Failure) -> None:
        ended.append(result)
        if reactor.running:
            reactor.stop()

    reactor.callWhenRunning(start)
    reactor.run()
    if not ended:
        raise Fault("interrupted; nothing was sent", ExitCode.INTERRUPTED)
    result = ended[0]
    if isinstance(result, Failure):
        result.raiseException()
        raise AssertionError("a failure that does not raise")
    return result


def _catch(reactor: Any, interrupt: Callable[[], None]) -> None:
    """Let signals interrupt, the first time."""

    def caught(number: int, frame: object) -> None:
        for name in _SIGNALS:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        reactor.callFromThread(interrupt)

    for name in _SIGNALS:
        signal.signal(getattr(signal, name), caught)
