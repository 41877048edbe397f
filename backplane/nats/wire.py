"""The lower half of ``NatsProtocol``: bytes, PINGs, and whoever wants to know of events."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.nats import actions, parser
from backplane.nats.errors import (
    ConnectionClosed,
    ConnectionFailed,
    NotConnected,
    ProtocolError,
)

__all__ = ["CONNECTED", "DISCONNECTED", "EventProtocol", "awaited"]

DISCONNECTED: Final = 0
CONNECTED: Final = 1


class EventProtocol(Protocol):
    """A connection that tells event subscribers what happens.

    Only :class:`~backplane.nats.protocol.NatsProtocol` derives from it; events name
    their protocol, and take no other. Its attributes are described there.
    """

    log: Logger
    max_outstanding_pings = 2

    def __init__(self, reactor: Any, event_subscribers: list[Callable[[Any], Any]] | None) -> None:
        self.reactor = reactor
        self.status = DISCONNECTED
        self.event_subscribers = event_subscribers if event_subscribers is not None else []
        self.ping_loop = LoopingCall(self.ping)
        self.ping_loop.clock = reactor
        self.closed_here = False
        self.handshake_d: Deferred[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self.pout = 0
        self._parser = parser.Parser("client")
        self._greeted = False
        self._lost = False
        self._why: Exception | None = None

    @property
    def _me(self) -> Any:
        return self  # events are typed for the one class that derives from this

    @property
    def remaining_bytes(self) -> bytes:
        """What was received and waits for the rest of its line or payload."""
        return b"".join(self._parser._pieces)

    def connectionMade(self) -> None:
        """Begin anew: a protocol may be connected again after a failed try."""
        transport: Any = self.transport
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            if hasattr(transport, option):
                getattr(transport, option)(True)
        self.closed_here = False
        self._begin()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Dispatch ConnectionLost or Disconnected."""
        self.status = DISCONNECTED
        self._lost = True
        if self.ping_loop.running:
            self.ping_loop.stop()
        why = self._why
        self._parser = parser.Parser("client")
        if why is not None:
            lost = ConnectionLost(str(why))
            lost.__cause__ = why
            reason = Failure(lost)
        else:
            self.closed_here = bool(getattr(self.transport, "disconnecting", False))
        if reason.check(ConnectionLost):
            self.dispatch(actions.ConnectionLost(self._me, reason))
        else:
            self.dispatch(actions.Disconnected(self._me, reason))
        waiting, self.handshake_d = self.handshake_d, None
        if waiting is not None and not waiting.called:
            waiting.errback(Failure(self._handshake_error(reason)))

    def _handshake_error(self, reason: Failure) -> Exception:
        if isinstance(self._why, ConnectionFailed):
            return self._why
        if self.closed_here:
            return ConnectionClosed("the connection was closed here, before INFO came")
        return ConnectionFailed(f"lost before INFO: {reason.getErrorMessage()}", phase="info")

    def abort(self, why: Exception) -> None:
        """Drop the connection at once, for this reason; nothing that came with it is used."""
        if not self._hears:
            return
        self._why = why
        self.status = DISCONNECTED
        self.log.error("{protocol} drops its connection: {why}", protocol=self, why=why)
        end = getattr(self.transport, "abortConnection", None)
        if end is not None:
            end()

    @property
    def _hears(self) -> bool:
        return not self._lost and self._why is None

    @property
    def _open(self) -> bool:
        return self.transport is not None and self._hears

    def _write(self, data: bytes) -> None:
        transport: Any = self.transport
        if not self._open:
            raise NotConnected("there is no connection")
        transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes of the server."""
        if not self._hears:
            return
        before = self.remaining_bytes[:4]
        problem: ProtocolError | None = None
        try:
            events: list[Any] = list(self._parser.feed(data))
        except ProtocolError as error:
            problem, events = error, error.events
        for event in events:
            if not self._hears:
                return
            self._take(event)
        if problem is not None:
            command = (before + data[:4])[:4] if not events else None
            self.dispatch(actions.UnhandledCommand(self._me, command))
            if self._greeted:
                self.abort(problem)
            else:
                self.abort(ConnectionFailed(f"not a NATS server: got {data[:40]!r}", phase="info"))

    def _take(self, event: parser.Event) -> None:
        if isinstance(event, parser.Msg):
            self._message(event)
        elif isinstance(event, parser.Ping):
            self.dispatch(actions.ReceivedPing(self._me))
            self.pong()
        elif isinstance(event, parser.Pong):
            self.pout = max(0, self.pout - 1)
            self.dispatch(actions.ReceivedPong(self._me, self.pout))
        elif isinstance(event, parser.Info):
            self._take_info(event.fields)
        elif isinstance(event, parser.Err):
            self.log.error("the server says: {text}", text=event.text[:300])
            self.dispatch(actions.ServerErr(self._me, event.text))

    def _take_info(self, fields: dict[str, Any]) -> None:
        raise NotImplementedError

    def _message(self, message: parser.Msg) -> None:
        raise NotImplementedError

    def dispatch(self, event: Any) -> None:
        """Call every event subscriber; what one raises is logged."""
        for subscriber in tuple(self.event_subscribers or ()):
            self._call(subscriber, event)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            result = awaited(function(*args, **kwargs))
        except Exception:
            self._failed(Failure(), function)
        else:
            if isinstance(result, Deferred):
                result.addErrback(self._failed, function)

    def _failed(self, failure: Failure, function: Callable[..., Any]) -> None:
        self.log.failure("{function} failed", failure, function=function)

    def ping(self) -> None:
        """Send PING, or drop a connection that left too many unanswered; nothing without one."""
        if not self._open:
            return
        if self.pout >= self.max_outstanding_pings:
            self.abort(NotConnected(f"stale connection: {self.pout} PINGs were not answered"))
            return
        self._write(b"PING\r\n")
        self.pout += 1
        self.dispatch(actions.SendPing(self._me, self.pout))

    def pong(self) -> None:
        """Send PONG; nothing without a connection."""
        if not self._open:
            return
        self._write(b"PONG\r\n")
        self.dispatch(actions.SendPong(self._me))


def awaited(result: Any) -> Any:
    """Return a Deferred for a coroutine, anything else as it is."""
    return Deferred.fromCoroutine(result) if inspect.iscoroutine(result) else result
