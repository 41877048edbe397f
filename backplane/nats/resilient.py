"""Connect with retries, reconnect and keep alive: txnats's helpers for ``NatsProtocol``.

Typical use::

    backoff = Backoff()
    protocol = NatsProtocol(
        event_subscribers=[make_reconnector(point, backoff), ping_loop_controller],
        subscriptions={"6": SubscriptionArgs("happy", "6", on_msg=handler)},
    )
    connecting = connect(point, protocol, backoff)
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats import actions
from backplane.nats.backoff import Backoff
from backplane.nats.errors import ConnectionFailed, NotConnected
from backplane.nats.protocol import NatsProtocol

__all__ = ["Reconnector", "connect", "make_reconnector", "ping_loop_controller", "sleep"]

HANDSHAKE_TIMEOUT: Final = 5.0
"""Seconds from the open socket to INFO; a server sends it at once."""

LASTING: Final = 5.0
"""Seconds that a connection must live for its loss not to count as a failed try. Servers
that refuse us do so within 2 s."""

PING_INTERVAL: Final = 10.0
"""Seconds between two PINGs, as in txnats."""

_log = Logger()


def sleep(own_reactor: IReactorTime, seconds: float) -> Deferred[float]:
    """Fire with ``seconds`` after so many; can be cancelled."""
    call: IDelayedCall
    done: Deferred[float] = Deferred(lambda _: call.cancel())
    call = own_reactor.callLater(seconds, done.callback, seconds)
    return done


def connect(
    point: IStreamClientEndpoint, protocol: NatsProtocol, backoff: Backoff, max_retries: int = 100
) -> Deferred[None]:
    """Connect, trying again after each failure; can be cancelled.

    Tried again are ``ConnectError``, ``DNSLookupError`` and a connection that does not
    bring INFO. It fires with ``None`` once INFO came and CONNECT was sent.

    :param protocol: is connected again and again until then.
    :param max_retries: tries after the first one.
    :returns: fails with the last error after so many; at once with
        :class:`~backplane.nats.errors.ConnectionFailed` of phase ``tls`` where TLS is
        wanted and missing, and with whatever else the endpoint fails with.
    """
    return Deferred.fromCoroutine(_connect(point, protocol, backoff, max_retries))


async def _connect(
    point: IStreamClientEndpoint, protocol: NatsProtocol, backoff: Backoff, max_retries: int
) -> None:
    for left in range(max_retries, -1, -1):
        try:
            await _try_once(point, protocol)
        except (ConnectError, DNSLookupError, ConnectionFailed) as error:
            if not left or (isinstance(error, ConnectionFailed) and error.phase == "tls"):
                raise
            delay = backoff.get_delay()
            _log.warn("connecting failed: {why}; next try in {delay:.1f} s", why=error, delay=delay)
            await sleep(protocol.reactor, delay)
        else:
            backoff.reset_delay()
            return


async def _try_once(point: IStreamClientEndpoint, protocol: NatsProtocol) -> None:
    greeted: Deferred[None] = Deferred()
    protocol.handshake_d = greeted
    try:
        await connectProtocol(point, protocol)
    except BaseException:
        protocol.handshake_d = None
        raise
    late = ConnectionFailed(f"INFO did not come within {HANDSHAKE_TIMEOUT:g} s", phase="info")
    timer = protocol.reactor.callLater(HANDSHAKE_TIMEOUT, protocol.abort, late)
    try:
        await greeted
    except CancelledError:
        protocol.abort(NotConnected("connecting was cancelled"))
        raise
    finally:
        if timer.active():
            timer.cancel()


@attrs.define(eq=False)
class _Line:
    """A connection and those that followed it.

    :ivar since: when the present one sent CONNECT, or ``None``.
    :ivar brief: connections in a row that did not last.
    :ivar calm: how long to wait after such a one.
    """

    calm: Backoff
    since: float | None = None
    brief: int = 0


class Reconnector:
    """Made by :func:`make_reconnector`."""

    def __init__(self, point: IStreamClientEndpoint, backoff: Backoff, max_retries: int) -> None:
        self._point = point
        self._backoff = backoff
        self._max_retries = max_retries
        self._lines: WeakKeyDictionary[NatsProtocol, _Line] = WeakKeyDictionary()
        self._pending: set[Deferred[None]] = set()
        self._stopped = False

    def __call__(self, event: Any) -> None:
        """Take an event of a protocol."""
        if isinstance(event, actions.SendConnect):
            self._line(event.protocol).since = event.protocol.reactor.seconds()
            event.protocol.apply_subscriptions()
        elif isinstance(event, actions.ConnectionLost | actions.Disconnected):
            self._lost(event.protocol)

    def stop(self) -> None:
        """Reconnect no more, and end what is under way."""
        self._stopped = True
        for pending in tuple(self._pending):
            pending.cancel()

    def _line(self, protocol: NatsProtocol) -> _Line:
        line = self._lines.get(protocol)
        if line is None:
            self._lines[protocol] = line = _Line(
                attrs.evolve(self._backoff, delay=self._backoff.initial_delay, retries=0)
            )
        return line

    def _lost(self, old: NatsProtocol) -> None:
        if self._stopped or old.closed_here or old.handshake_d is not None:
            return
        line = self._line(old)
        since, line.since = line.since, None
        if since is not None and old.reactor.seconds() - since >= LASTING:
            line.brief = 0
            line.calm.reset_delay()
        # At once for the first time; a server that accepts and drops us is not hammered.
        delay = line.calm.get_delay() if line.brief else 0.0
        line.brief += 1
        new = NatsProtocol(
            own_reactor=old.reactor,
            verbose=old.verbose,
            pedantic=old.client_info.pedantic,
            ssl_required=old.client_info.ssl_required,
            auth_token=old.client_info.auth_token,
            user=old.client_info.user,
            password=old.client_info.password,
            on_msg=old.on_msg,
            event_subscribers=old.event_subscribers,
            subscriptions=old.subscriptions,
            unsubs=old.unsubs,
        )
        self._lines[new] = line
        pending = Deferred.fromCoroutine(self._again(new, delay))
        self._pending.add(pending)
        pending.addErrback(_give_up)
        pending.addBoth(lambda _: self._pending.discard(pending))

    async def _again(self, protocol: NatsProtocol, delay: float) -> None:
        if delay:
            await sleep(protocol.reactor, delay)
        await _connect(self._point, protocol, self._backoff, self._max_retries)


def _give_up(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.critical("reconnecting was given up: {why}", why=failure.getErrorMessage())


def make_reconnector(
    point: IStreamClientEndpoint, backoff: Backoff, max_retries: int = 100
) -> Reconnector:
    """Return an event subscriber that reconnects.

    When CONNECT was sent it calls ``apply_subscriptions()``. When the connection is
    lost, by a clean end too, it makes a new protocol with the settings, event
    subscribers and subscriptions of the old one, but without its ``on_connect``, and
    connects it. It does nothing where the protocol's own transport was told to close.

    :param max_retries: as in :func:`connect`, for each loss.
    """
    return Reconnector(point, backoff, max_retries)


def ping_loop_controller(event: Any) -> None:
    """Send PINGs while there is a connection: an event subscriber."""
    if isinstance(event, actions.SendConnect):
        if not event.protocol.ping_loop.running:
            event.protocol.ping_loop.start(PING_INTERVAL, now=True).addErrback(_loop_failed)
    elif isinstance(event, actions.Disconnected | actions.ConnectionLost) and (
        event.protocol.ping_loop.running
    ):
        event.protocol.ping_loop.stop()


def _loop_failed(failure: Failure) -> None:
    _log.failure("the PINGs ended", failure)
