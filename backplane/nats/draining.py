"""Closing a client without loss: what has come is handled, what was published arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from backplane.nats.errors import ConnectionClosed, DrainTimeout, NatsError, NotConnected
from backplane.nats.events import Disconnected, Draining
from backplane.nats.requests import Requests
from backplane.nats.state import State
from backplane.nats.subscription import Subscriptions
from backplane.nats.waiters import Waiters

__all__ = ["Drainer"]

FLUSH_TIMEOUT: Final = 5.0
"""Seconds that the server has to take the last publishes."""


class Drainer:
    """The drain of one client, of which there is at most one at a time.

    :param flush: fires when the server has all publishes, or fails after so many seconds.
    :param close: closes the client without a flush.
    :param emit: told what :mod:`backplane.nats.events` has for it.
    :ivar phase: how far it is, or ``None``.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        requests: Requests,
        clock: IReactorTime,
        *,
        flush: Callable[[float], Deferred[None]],
        close: Callable[[], Deferred[None]],
        refuse: Callable[[str], None],
        emit: Callable[[object], None],
    ) -> None:
        self.phase: State | None = None
        self._subscriptions = subscriptions
        self._requests = requests
        self._clock = clock
        self._flush = flush
        self._close = close
        self._refuse = refuse
        self._emit = emit
        self._waiters = Waiters()
        self._work: Deferred[None] | None = None
        self._why: NatsError | None = None  # it was ended

    def drain(self, timeout: float, state: State) -> Deferred[None]:
        """See :meth:`backplane.nats.client.NatsClient.drain`.

        :param state: of the client.
        """
        if self.phase is not None:
            return self._waiters.wait()
        if state is State.CLOSED:
            return fail(ConnectionClosed("the client was closed"))
        done = self._waiters.wait()
        self.phase = State.DRAINING_SUBS
        self._why = None
        if state is not State.CONNECTED:
            self._finish(NotConnected("there is no connection to drain"))
            return done
        self._subscriptions.refuse("the client is draining")
        self._emit(Draining())
        self._work = work = Deferred.fromCoroutine(self._run())
        late = self._clock.callLater(
            timeout, self.end, DrainTimeout(f"not drained within {timeout:g} s")
        )

        def over(result: Failure | None) -> None:
            if late.active():
                late.cancel()
            self._work = None
            failed = result.value if isinstance(result, Failure) else None
            self._finish(self._why if self._why is not None else failed)

        work.addBoth(over)
        return done

    def end(self, why: NatsError) -> None:
        """Close now, and let the drain fail with this."""
        if self._why is None:
            self._why = why
            if self._work is not None:
                self._work.cancel()

    def heard(self, event: object) -> None:
        """Take an event: without its connection a drain cannot go on."""
        if self._work is not None and isinstance(event, Disconnected):
            self.end(NotConnected(f"the connection was lost: {event.reason}"))

    async def _run(self) -> None:
        subscriptions, requests = self._subscriptions, self._requests
        # Handlers may still ask, so the place for answers is the last.
        await subscriptions.drain([one for one in subscriptions.all if not requests.owns(one)])
        await requests.when_idle()
        await subscriptions.drain(subscriptions.all)
        self.phase = State.DRAINING_PUBS
        self._refuse("the client is draining")
        await self._flush(FLUSH_TIMEOUT)

    def _finish(self, error: BaseException | None) -> None:
        def closed(_: object) -> None:
            self.phase = None
            self._waiters.end(error)

        self._close().addBoth(closed)
