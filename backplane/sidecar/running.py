"""A process group on the reactor: what it prints, and its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from twisted.internet import fdesc
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from backplane.sidecar.group import ProcessGroup

__all__ = ["Running", "Stream"]

Stream = Literal["out", "err"]

POLL: Final = 0.05
"""Seconds between two looks for the end, where the system cannot tell of it."""

MAX_LEFT: Final = 1024 * 1024
"""Bytes that are still taken from a pipe after the end; the system's pipes hold less."""


class Running:
    """A program that runs; ends are told, whoever else holds its pipes.

    :param received: gets what it prints, piece by piece.
    :param ended: called once with its exit code, after the last piece. By then all
        of the group has been killed.
    :param watch: whether the system is asked to tell of the end; else it is looked for.
    :raises OSError: when it cannot be started.
    """

    def __init__(
        self,
        reactor: Any,
        argv: Sequence[str],
        folder: str,
        environment: Mapping[str, str],
        received: Callable[[Stream, bytes], None],
        ended: Callable[[int | None], None],
        *,
        watch: bool = True,
    ) -> None:
        self._reactor = reactor
        self._received = received
        self._ended = ended
        self._looking: IDelayedCall | None = None
        self._watch: _Watch | None = None
        self.group = ProcessGroup(argv, folder, environment)
        self.pid = self.group.pid
        out, err = self.group.pipes
        self._pipes = (
            _Pipe(reactor, out, lambda data: received("out", data)),
            _Pipe(reactor, err, lambda data: received("err", data)),
        )
        for pipe in self._pipes:
            pipe.startReading()
        descriptor = _descriptor(self.pid) if watch else None
        if descriptor is None:
            self._looking = reactor.callLater(POLL, self._look)
        else:
            self._watch = _Watch(reactor, descriptor, self._look_soon)
            self._watch.startReading()

    def signal_group(self, number: int) -> None:
        """Send a signal to all of the group; nothing happens once it has ended."""
        self.group.signal_group(number)

    def signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        self.group.signal_program(number)

    def read(self, wanted: bool) -> None:
        """Read what it prints, or let it wait."""
        for pipe in self._pipes:
            if pipe.connected:
                (pipe.startReading if wanted else pipe.stopReading)()

    def _look_soon(self) -> None:
        """Look when the reactor has done all that it was woken for.

        What is closed and opened in between would get what was meant for another
        descriptor of the same number.
        """
        assert self._watch is not None
        self._watch.stopReading()
        if self._looking is None:
            self._looking = self._reactor.callLater(0, self._look)

    def _look(self) -> None:
        self._looking = None
        if self.group.has_ended():
            self._over()
        elif self._watch is not None:
            self._watch.startReading()
        else:
            self._looking = self._reactor.callLater(POLL, self._look)

    def _over(self) -> None:
        if self._watch is not None:
            self._watch.close()
        code = self.group.finish()
        for pipe in self._pipes:
            pipe.drain()
            pipe.close()
        self.group.close()
        self._ended(code)


def _descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable at the end of a process (Linux)."""
    opener = getattr(os, "pidfd_open", None)
    try:
        return opener(pid) if opener is not None else None
    except OSError:  # an old kernel, or one that is not let
        return None


class _Descriptor(FileDescriptor):
    """A file descriptor that the reactor watches until it is closed.

    What wakes it may have been meant for another one that had its number a moment
    ago, so it is looked at before it is believed.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        super().__init__(reactor)
        self.connected = True
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        """Stop watching."""
        if self.connected:
            self.connected = False
            self.stopReading()


class _Pipe(_Descriptor):
    """What a program prints; the group closes the descriptor."""

    def __init__(self, reactor: Any, descriptor: int, received: Callable[[bytes], None]) -> None:
        super().__init__(reactor, descriptor)
        self._received = received

    def doRead(self) -> Any:
        """Take one piece."""
        return fdesc.readFromFD(self._descriptor, self._received)

    def connectionLost(self, reason: Failure) -> None:
        """Go on, unless the end is here; see :class:`IReadDescriptor`."""
        if self.connected and fdesc.readFromFD(self._descriptor, self._received) is None:
            self.startReading()
        else:
            self.close()

    def drain(self) -> None:
        """Take what is there."""
        left = MAX_LEFT
        while self.connected and left > 0:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # nothing is there, and somebody else holds the other end
                return
            if not data:
                return
            left -= len(data)
            self._received(data)


class _Watch(_Descriptor):
    """Tells of the end of a process, or of nothing."""

    def __init__(self, reactor: Any, descriptor: int, woken: Callable[[], None]) -> None:
        super().__init__(reactor, descriptor)
        self._woken = woken

    def doRead(self) -> None:
        """The process has ended, it seems."""
        self._woken()

    def connectionLost(self, reason: Failure) -> None:
        """So it is here; see :class:`IReadDescriptor`."""
        if self.connected:
            self._woken()

    def close(self) -> None:
        """Stop watching."""
        if self.connected:
            super().close()
            os.close(self._descriptor)
