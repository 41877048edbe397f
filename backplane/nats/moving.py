"""When a connection moves: at most one move at a time, and again after one that failed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from backplane.nats.backoff import Delays
from backplane.nats.connection import NatsConnection
from backplane.nats.counts import Counts
from backplane.nats.events import Moved
from backplane.nats.handover import Leaving, Move, Mover
from backplane.nats.opening import Opener
from backplane.nats.servers import Server
from backplane.nats.waiters import Waiters

__all__ = ["Moves"]

SETTLING: Final = 5.0
"""Seconds after a move in which copies of messages may still come."""


class Moves:
    """The moves of one client.

    :param take_over: called with a move whose connection is to be used from now on;
        returns the one that was used so far, and where that leads.
    :param rng: for the jitter between tries.
    """

    def __init__(
        self,
        opener: Opener,
        mover: Mover,
        take_over: Callable[[Move], tuple[NatsConnection, Server]],
        *,
        counts: Counts,
        log: Logger,
        rng: random.Random,
    ) -> None:
        self._opener = opener
        self._clock = opener.clock
        self._mover = mover
        self._take_over = take_over
        self._counts = counts
        self._log = log
        self._delays = Delays(rng)
        self._move: Move | None = None
        self._retry: IDelayedCall | None = None
        self._trouble = ""
        self._last = float("-inf")
        self._leaving: list[Leaving] = []
        self._closing = 0
        self._waiters = Waiters()

    @property
    def under_way(self) -> bool:
        """Whether messages may come twice, because there are, or just were, two connections."""
        return self._move is not None or self._clock.seconds() - self._last < SETTLING

    @property
    def trying(self) -> bool:
        """Whether a move is under way, or will be tried again."""
        retry = self._retry
        return self._move is not None or (retry is not None and retry.active())

    @property
    def leaving(self) -> list[NatsConnection]:
        """Connections that another one has taken over from, and that are not drained."""
        return [leaving.connection for leaving in self._leaving]

    def begin(self, servers: Callable[[], Sequence[Server]], why: str) -> None:
        """Move, again and again until it succeeds or is ended; one under way begins anew.

        :param servers: asked at each try, in which order they are tried.
        :param why: for the log.
        """
        self._delays.tries = 0
        self._trouble = ""
        self._begin(servers, why)

    def end(self) -> None:
        """Move no more."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        move, self._move = self._move, None
        if move is not None:
            move.cancel()

    def send(self, data: bytes) -> None:
        """Send a control line to the connection that is about to take over."""
        if self._move is not None:
            self._move.send(data)

    async def drained(self) -> None:
        """Wait until the connections that are leaving are closed."""
        while self._closing:
            await self._waiters.wait()

    def _begin(self, servers: Callable[[], Sequence[Server]], why: str) -> None:
        self.end()
        self._move = Move(
            servers(),
            self._opener,
            self._mover,
            lambda move: self._done(move, why),
            lambda server, reason: self._failed(server, reason, servers, why),
        )
        self._move.start()

    def _failed(
        self,
        server: Server,
        reason: Exception,
        servers: Callable[[], Sequence[Server]],
        why: str,
    ) -> None:
        self._move = None
        text = f"{server.address}: {reason}"
        if text != self._trouble:
            self._trouble = text
            self._log.warn(
                "{why}, but there is no new connection, the old one stays: {text}",
                why=why,
                text=text,
            )
        self._retry = self._clock.callLater(self._delays.next(), self._begin, servers, why)

    def _done(self, move: Move, why: str) -> None:
        self._move = None
        self._last = self._clock.seconds()
        self._counts.moves += 1
        old, before = self._take_over(move)
        self._log.info("{why}: moved to a new connection to {url}", why=why, url=move.server.url)
        assert move.connection is not None
        outflow = move.connection.outflow
        outflow.hold()  # what was published over the old one comes first
        leaving = Leaving(old, self._mover, self._counts, self._gone, outflow.release)
        self._leaving.append(leaving)
        self._closing += 1
        leaving.start().addBoth(self._closed)
        self._mover.taken_over()
        self._mover.emit(Moved(move.server.url, before.url))
        for text in move.complaints:
            self._mover.refused(text, True)

    def _gone(self, leaving: Leaving) -> None:
        if leaving in self._leaving:
            self._leaving.remove(leaving)

    def _closed(self, result: object) -> None:
        self._closing -= 1
        self._waiters.end()
