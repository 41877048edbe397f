"""SIGHUP under twistd: nothing to do, and no reason to end.

Programs that rotate logs send it out of habit. Log and audit file are found again without it,
and twistd leaves it to the system, which ends the process. At a terminal it means that the
terminal has gone; that is an orderly stop.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

__all__ = ["HangUps"]

STREAMS: Final = (0, 1, 2)


class HangUps:
    """Takes SIGHUP where nobody else does: an application's own handler stays, and ``nohup`` too.

    :param stop: stops in order; called on the reactor.
    :param reactor: with ``callFromThread``.
    :param log: has one line for each signal.
    :param isatty: says whether a descriptor is a terminal that is still there.
    """

    def __init__(
        self,
        stop: Callable[[], object],
        reactor: Any,
        log: Logger,
        isatty: Callable[[int], bool] = os.isatty,
    ) -> None:
        self._stop = stop
        self._reactor = reactor
        self._log = log
        self._isatty = isatty
        self._terminals: list[int] = []
        self._taken = False

    def start(self) -> None:
        """Take the signal, where there is one to take (not on Windows, only in the main thread)."""
        number = getattr(signal, "SIGHUP", None)
        if number is None or signal.getsignal(number) is not signal.SIG_DFL:
            return
        self._terminals = [each for each in STREAMS if self._isatty(each)]
        try:
            signal.signal(number, self._heard)
        except ValueError:
            return
        self._taken = True

    def stop(self) -> None:
        """Leave it as it was, unless somebody else has taken it meanwhile."""
        if self._taken and signal.getsignal(signal.SIGHUP) == self._heard:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self._taken = False

    def _heard(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._act)

    def _act(self) -> None:
        if self._terminals and not all(self._isatty(each) for each in self._terminals):
            self._log.info("the terminal has gone: stopping")
            try:
                self._stop()
            except ReactorNotRunning:
                pass  # it is stopping already
        else:
            self._log.info("SIGHUP: log files are found again without it; nothing to do")
