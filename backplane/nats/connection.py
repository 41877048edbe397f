"""One TCP connection to one server: a thin adapter around :class:`Session`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from backplane.nats import parser
from backplane.nats.errors import (
    ConnectionFailed,
    FlushTimeout,
    NotConnected,
    ProtocolError,
)
from backplane.nats.layer import Creator, explain, refuses, start_tls
from backplane.nats.outflow import Outflow
from backplane.nats.reasons import Stage, lost, lost_early, too_slow
from backplane.nats.session import Answered, Established, InfoChanged, Refused, Session

__all__ = ["NatsConnection", "Owner"]

CLOSE_PATIENCE: Final = 2.0
"""Seconds that a close may take before the connection is aborted."""


class Owner:
    """What a connection tells; :class:`backplane.nats.client.NatsClient` overrides it."""

    def established(self, connection: NatsConnection) -> None:
        """The handshake is done."""

    def message(self, message: parser.Msg) -> None:
        """A message came."""

    def info_changed(self, connection: NatsConnection) -> None:
        """A later INFO came."""

    def refused(self, connection: NatsConnection, text: str) -> None:
        """``-ERR`` came."""

    def lost(self, connection: NatsConnection, reason: Exception) -> None:
        """The connection is gone."""


@implementer(IHandshakeListener)
class NatsConnection(Protocol):
    """A connection.

    :param connect: given the fields of INFO, returns those of CONNECT.
    :param address: of the server, for errors.
    :param handshake_timeout: seconds from the open socket to the first PONG.
    :param ping_interval: seconds between keep-alive PINGs.
    :param max_unanswered: keep-alive PINGs that may be unanswered.
    :param backlog: bytes of publishes kept while the socket does not drain.
    :param security: TLS, which starts after INFO.
    :param tls_first: TLS starts at once.
    :ivar owner: told of what happens; replaced when another one takes over.
    :ivar outflow: what is published goes there, while it is usable.
    :ivar usable: whether it was neither lost nor aborted.
    :ivar dropped: publishes that were kept when the connection was lost.
    """

    def __init__(
        self,
        owner: Owner,
        clock: IReactorTime,
        connect: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        address: str,
        handshake_timeout: float,
        ping_interval: float,
        max_unanswered: int,
        backlog: int,
        security: Creator | None = None,
        tls_first: bool = False,
    ) -> None:
        self.session = Session(connect)
        self.address = address
        self.dropped = 0
        self.owner = owner
        self._clock = clock
        self._handshake_timeout = handshake_timeout
        self._ping_interval = ping_interval
        self._max_unanswered = max_unanswered
        self._security = security
        self._tls_first = tls_first
        self._timer: IDelayedCall | None = None
        self._closer: IDelayedCall | None = None
        self.outflow = Outflow(clock, self._ping, backlog, address)
        self.usable = True
        self._why: Exception | None = None
        self._last_error = ""
        self._gone: list[Deferred[None]] = []
        self._ended = False
        self._stage = Stage.PLAIN

    def connectionMade(self) -> None:
        """Start the handshake's deadline."""
        transport: Any = self.transport
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            if hasattr(transport, option):
                getattr(transport, option)(True)
        self.outflow.transport = transport
        transport.registerProducer(self.outflow, True)
        self._timer = self._clock.callLater(self._handshake_timeout, self._too_slow)
        if self._security is not None and self._tls_first:
            self._start_tls(self._security)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes of the server."""
        if self._why is not None:
            return
        if self._stage is Stage.CHECKED:
            self._stage = Stage.MUTUAL
        self.outflow.burst = 0
        try:
            events = self.session.receive(data)
        except ProtocolError as error:
            self._events(error.events)
            established = self.session.established
            self.abort(
                error if established else ConnectionFailed(str(error), self.address, "handshake")
            )
            return
        except ConnectionFailed as error:
            error.server = self.address
            self.abort(error)
            return
        if self._security is not None and self._stage is Stage.PLAIN and self.session.info:
            # Of INFO comes CONNECT, and nothing else.
            wrong = self._why_no_tls(bool(events) or len(self.session.outgoing) != 1)
            if wrong is not None:
                self.abort(ConnectionFailed(wrong, self.address, "tls"))
                return
            self._start_tls(self._security)
            return
        self._write_session()
        self._events(events)

    def handshakeCompleted(self) -> None:
        """Say who we are, now that it is known to whom; see :class:`IHandshakeListener`."""
        # OpenSSL has finished even where the certificate is not that of the server.
        transport: Any = self.transport
        if self._security is None or transport.disconnecting:
            return
        if explain(self._security, None) is None:
            self._stage = Stage.CHECKED
            self._write_session()

    def _why_no_tls(self, more: bool) -> str | None:
        info = self.session.info
        if not (info.get("tls_required") or info.get("tls_available")):
            return "the broker does not speak TLS"
        if more or self.session.unfinished:
            # Somebody between us wants it to be taken for what the broker says under TLS.
            return "the broker said more than INFO before TLS"
        return None

    def _start_tls(self, security: Creator) -> None:
        transport: Any = self.transport
        transport.unregisterProducer()
        self._stage = Stage.HANDSHAKE
        self.transport = self.outflow.transport = start_tls(transport, security, self._clock)
        self.transport.registerProducer(self.outflow, True)

    def _events(self, events: Iterable[object]) -> None:
        for event in events:
            if self._why is not None:
                return
            if type(event) is parser.Msg:
                self.owner.message(event)
            elif isinstance(event, Answered):
                assert isinstance(event.token, Deferred)
                if not event.token.called:
                    event.token.callback(None)
            elif isinstance(event, Established):
                self._start_pings()
                self.owner.established(self)
            elif isinstance(event, InfoChanged):
                self.owner.info_changed(self)
            elif isinstance(event, Refused):
                self._last_error = event.text
                self.owner.refused(self, event.text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the owner and whoever waits."""
        for timer in (self._timer, self._closer):
            if timer is not None and timer.active():
                timer.cancel()
        self._ended = True
        self.usable = False
        why = self._why if self._why is not None else self._explain(reason)
        failure = Failure(NotConnected(f"the connection was lost: {why}"))
        self.dropped, flushes = self.outflow.end(NotConnected(str(failure.value)))
        waiting = [*self.session.pending, *flushes]
        self.owner.lost(self, why)
        for waiter in waiting:
            if isinstance(waiter, Deferred) and not waiter.called:
                waiter.errback(failure)
        gone, self._gone = self._gone, []
        for waiter in gone:
            waiter.callback(None)

    @property
    def held(self) -> int:
        """Bytes of publishes that are kept while the socket does not drain."""
        return self.outflow.kept

    def send(self, data: bytes) -> None:
        """Send a control line."""
        if not self._ended:
            self.outflow.send(data)

    def publish(self, data: bytes) -> None:
        """Send a publish, or keep it while the socket does not drain.

        :raises BufferFull: when too much is kept already.
        """
        if not self._ended:
            self.outflow.publish(data)

    @property
    def writable(self) -> bool:
        """Whether the socket drains, so that nothing is kept back."""
        return self.outflow.open

    def when_writable(self) -> Deferred[None]:
        """Fire when it is :attr:`writable`; fails with :class:`NotConnected` when it is lost."""
        return self.outflow.when_open()

    def flush(self, timeout: float | None) -> Deferred[None]:
        """Fire when the server has answered a PING sent after all publishes so far.

        :returns: fails with :class:`FlushTimeout` or :class:`NotConnected`.
        """
        done: Deferred[None] = Deferred()
        self.outflow.flush(done)
        if timeout is not None:
            late = self._clock.callLater(timeout, self._flush_late, done, timeout)

            def answered(result: Any) -> Any:
                if late.active():
                    late.cancel()
                return result

            done.addBoth(answered)
        return done

    def close(self) -> Deferred[None]:
        """Close after what was written is sent; fires when the connection is gone."""
        done: Deferred[None] = Deferred()
        if self._ended:
            done.callback(None)
            return done
        self._gone.append(done)
        if self._closer is None:
            self._stop_timer()
            transport: Any = self.transport
            self.outflow.spill()
            transport.unregisterProducer()
            transport.loseConnection()
            self._closer = self._clock.callLater(CLOSE_PATIENCE, self._abort_transport)
        return done

    def abort(self, why: Exception) -> None:
        """Drop the connection at once, for this reason."""
        if self._why is None and not self._ended:
            self._why = why
            self.usable = False
            self._stop_timer()
            self._abort_transport()

    def _ping(self, done: Deferred[None]) -> None:
        self.session.ping(done)
        self._write_session()

    def _write_session(self) -> None:
        if self.session.outgoing:
            data, self.session.outgoing = b"".join(self.session.outgoing), []
            self.send(data)

    def _start_pings(self) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(self._ping_interval, self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _tick(self) -> None:
        if self.session.unanswered >= self._max_unanswered:
            self.abort(
                NotConnected(
                    f"stale connection: {self.address} did not answer "
                    f"{self.session.unanswered} PINGs"
                )
            )
            return
        self.session.keep_alive()
        self._write_session()
        self._timer = self._clock.callLater(self._ping_interval, self._tick)

    def _too_slow(self) -> None:
        self.abort(
            too_slow(
                self.address,
                self._stage,
                bool(self.session.info),
                self._last_error,
                limit=self._handshake_timeout,
                expects_info=self._security is not None and not self._tls_first,
            )
        )

    def _explain(self, reason: Failure) -> Exception:
        said = None
        if self._security is not None and self._stage is not Stage.PLAIN:
            said = explain(self._security, reason.value)
        if self.session.established:
            return lost(self._last_error, said, reason)
        return lost_early(
            self.address,
            self._stage,
            bool(self.session.info),
            self._last_error,
            said,
            expects_info=self._security is not None and not self._tls_first,
            refused=self._security is not None and refuses(reason.value),
        )

    def _flush_late(self, done: Deferred[None], timeout: float) -> None:
        # Its PONG may still come; the place in the row of PINGs is kept.
        done.errback(Failure(FlushTimeout(f"no answer to a PING within {timeout:g} s")))

    def _abort_transport(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
