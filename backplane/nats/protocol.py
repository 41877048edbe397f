"""txnats's ``NatsProtocol``: one connection, handlers per subscription id, events.

Constructor, methods, callbacks and events are txnats 0.7.5's, so that its users
change an import. Unlike txnats it takes any INFO and subject that servers
have, answers a split command once, outlives ``-ERR``, sends CONNECT once per
connection, and drops a connection that is not NATS or does not answer PINGs.

It speaks no TLS itself: over an endpoint without TLS it refuses to connect
where we or the server want TLS. New programs may prefer
:class:`backplane.nats.client.NatsClient`, which reconnects by itself.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane._version import __version__
from backplane.nats import actions, parser
from backplane.nats.config_state import (
    ClientInfo,
    ServerInfo,
    SubscriptionArgs,
    read_server_info,
    sid_text,
    text_keys,
)
from backplane.nats.errors import (
    ConnectionClosed,
    ConnectionFailed,
    NatsError,
    NotConnected,
    PayloadTooLarge,
    ProtocolError,
)
from backplane.nats.validators import check_publish_subject

__all__ = ["CLIENT_NAME", "CONNECTED", "DISCONNECTED", "LANG", "NatsProtocol"]

LANG: Final = "py.twisted"
CLIENT_NAME: Final = "txnats"

DISCONNECTED: Final = 0
CONNECTED: Final = 1

_ENDED_KEPT: Final = 1024
"""Ended subscriptions that are remembered: their messages may be on the way for a round trip."""

Handler = Callable[..., Any]


class NatsProtocol(Protocol):
    """A connection to a server.

    A message handler is called as ``on_msg(nats_protocol=, sid=, subject=, reply_to=,
    payload=)``: text, ``None`` where there is no ``reply_to``, and bytes. It may return
    a Deferred or be a coroutine function. What it raises is logged.

    :param own_reactor: provides time; the global reactor by default.
    :param verbose: let the server acknowledge each command.
    :param pedantic: let the server check subjects more strictly.
    :param ssl_required: do not connect without TLS.
    :param on_msg: gets messages of subscriptions without a handler of their own;
        without it they are written to standard output.
    :param on_connect: called with this protocol once CONNECT is sent.
    :param event_subscribers: called with each event of :mod:`backplane.nats.actions`.
    :param subscriptions: sids and their :class:`SubscriptionArgs`, for
        :meth:`apply_subscriptions`.
    :param unsubs: sids and the number of messages they may still get.
    :raises TypeError: when ``on_msg`` cannot be called like that.
    :ivar status: :data:`CONNECTED` from the first INFO on, else :data:`DISCONNECTED`.
    :ivar on_connect_d: fires with this protocol once CONNECT is sent; ``None`` afterwards.
    :ivar sids: sids of this connection and their handlers.
    :ivar pout: PINGs that were not answered.
    :ivar max_outstanding_pings: above it :meth:`ping` drops the connection.
    :ivar closed_here: the connection ended because its transport was told to close.
    :ivar handshake_d: set by whoever wants to know whether INFO comes; until then
        a loss is his to deal with.
    """

    log = Logger()
    server_settings: ServerInfo | None = None
    max_outstanding_pings = 2

    def __init__(
        self,
        own_reactor: Any = None,
        verbose: bool = True,
        pedantic: bool = False,
        ssl_required: bool = False,
        auth_token: str | None = None,
        user: str | None = "",
        password: str | None = "",
        on_msg: Handler | None = None,
        on_connect: Callable[[NatsProtocol], Any] | None = None,
        event_subscribers: list[Callable[[Any], Any]] | None = None,
        subscriptions: dict[str, SubscriptionArgs] | None = None,
        unsubs: dict[str, int] | None = None,
    ) -> None:
        if own_reactor is None:
            from twisted.internet import reactor as own_reactor
        if on_msg is not None:
            _check_signature(on_msg)
        self.reactor = own_reactor
        self.status = DISCONNECTED
        self.verbose = verbose
        self.client_info = ClientInfo(
            verbose, pedantic, ssl_required, auth_token, user, password,
            CLIENT_NAME, LANG, __version__,
        )  # fmt: skip
        self.on_msg = on_msg
        self.on_connect = on_connect
        self.on_connect_d: Deferred[Any] | None = Deferred()
        if on_connect is not None:
            self.on_connect_d.addCallback(on_connect)
            self.on_connect_d.addCallback(_awaited)
        self.event_subscribers = event_subscribers if event_subscribers is not None else []
        self.subscriptions = text_keys(subscriptions)
        self.unsubs = text_keys(unsubs)
        self.sids: dict[str, Handler | None] = {}
        self.ping_loop = LoopingCall(self.ping)
        self.ping_loop.clock = own_reactor
        self.closed_here = False
        self.handshake_d: Deferred[None] | None = None
        self._early: set[str] = set()  # subscribed before there was a transport
        self._begin()

    def _begin(self) -> None:
        self.pout = 0
        self.sids = {sid: self.sids[sid] for sid in self._early if sid in self.sids}
        self._parser = parser.Parser("client")
        self._info: dict[str, Any] = {}
        self._greeted = False
        self._lost = False
        self._why: Exception | None = None
        self._delivered: dict[str, int] = {}
        self._delivering: str | None = None
        self._ended: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<NatsProtocol connected={self.status} server_info={self.server_settings}>"

    @property
    def remaining_bytes(self) -> bytes:
        """What was received and waits for the rest of its line or payload."""
        return b"".join(self._parser._pieces)

    # The connection.

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
            self.dispatch(actions.ConnectionLost(self, reason))
        else:
            self.dispatch(actions.Disconnected(self, reason))
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

    # What comes.

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
            self.dispatch(actions.UnhandledCommand(self, command))
            if self._greeted:
                self.abort(problem)
            else:
                self.abort(ConnectionFailed(f"not a NATS server: got {data[:40]!r}", phase="info"))

    def _take(self, event: parser.Event) -> None:
        if isinstance(event, parser.Msg):
            self._message(event)
        elif isinstance(event, parser.Ping):
            self.dispatch(actions.ReceivedPing(self))
            self.pong()
        elif isinstance(event, parser.Pong):
            self.pout = max(0, self.pout - 1)
            self.dispatch(actions.ReceivedPong(self, self.pout))
        elif isinstance(event, parser.Info):
            self._take_info(event.fields)
        elif isinstance(event, parser.Err):
            self.log.error("the server says: {text}", text=event.text[:300])
            self.dispatch(actions.ServerErr(self, event.text))

    def _take_info(self, fields: dict[str, Any]) -> None:
        # Replaces what is known; what is absent still holds.
        self._info = {**self._info, **fields}
        before = self.server_settings if self._greeted else None
        self.server_settings, bad = read_server_info(fields, before)
        if bad:
            self.log.warn("INFO has fields of a wrong type: {names}", names=", ".join(bad))
        self.dispatch(actions.ReceivedInfo(self, self.server_settings))
        if self._greeted or not self._hears:
            return  # a second CONNECT would end all subscriptions
        self._greeted = True
        connected, self.on_connect_d = self.on_connect_d, None
        try:
            self.connect()
        except NatsError as error:
            self.abort(error)
            if connected is not None:
                connected.errback(Failure(error))
            return
        if connected is not None and not connected.called:
            connected.callback(self)
        waiting, self.handshake_d = self.handshake_d, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def _message(self, message: parser.Msg) -> None:
        sid = message.sid
        if sid not in self.sids and sid in self._ended:
            return
        own = self.sids.get(sid)
        handler = own if own is not None else self.on_msg
        if sid in self.sids:
            self._delivered[sid] = self._delivered.get(sid, 0) + 1
        if sid in self.unsubs:
            self.unsubs[sid] -= 1
        self._delivering = sid
        self._call(
            handler if handler is not None else _print_message,
            nats_protocol=self, sid=sid, subject=message.subject,
            reply_to=message.reply, payload=message.payload,
        )  # fmt: skip
        self._delivering = None
        self.dispatch(
            actions.ReceivedMsg(sid, self, message.subject, message.payload, message.reply)
        )
        self._end_if_reached(sid)

    def _end_if_reached(self, sid: str) -> None:
        if self.unsubs.get(sid, 1) <= 0:
            self._forget(sid)
            self.dispatch(actions.UnsubMaxReached(sid, self))

    def _forget(self, sid: str) -> None:
        tables: tuple[dict[str, Any], ...] = (
            self.sids, self.subscriptions, self.unsubs, self._delivered,
        )  # fmt: skip
        for table in tables:
            table.pop(sid, None)
        self._early.discard(sid)
        self._ended[sid] = None
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]

    def dispatch(self, event: Any) -> None:
        """Call every event subscriber; what one raises is logged."""
        for subscriber in tuple(self.event_subscribers or ()):
            self._call(subscriber, event)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            result = _awaited(function(*args, **kwargs))
        except Exception:
            self._failed(Failure(), function)
        else:
            if isinstance(result, Deferred):
                result.addErrback(self._failed, function)

    def _failed(self, failure: Failure, function: Callable[..., Any]) -> None:
        self.log.failure("{function} failed", failure, function=function)

    # What goes.

    def connect(self) -> None:
        """Send CONNECT; done by itself at the first INFO.

        :raises ConnectionFailed: without TLS, when we or the server want it: credentials
            are not sent in clear.
        """
        secure = ISSLTransport.providedBy(self.transport)
        wanted = (
            "ssl_required=True asks for it"
            if self.client_info.ssl_required
            else "the server wants it"
            if self._info.get("tls_required") is True
            else ""
        )
        if wanted and not secure:
            raise ConnectionFailed(
                f"no TLS, but {wanted}: use an endpoint that speaks TLS from the start", phase="tls"
            )
        fields = self.client_info.asdict_for_connect()
        proto = self._info.get("proto")
        if isinstance(proto, int) and proto >= 1:
            fields.update(protocol=1, echo=True, tls_required=secure)
        if self._info.get("headers") is True:
            # A handler could not tell the notice that nobody answers from an empty message.
            fields.update(headers=True, no_responders=False)
        self._write(parser.encode_connect(fields))
        self.status = CONNECTED
        self.dispatch(actions.SendConnect(self, self.client_info))
        for sid in tuple(self._early):
            if sid in self.subscriptions:
                self._send_subscription(self.subscriptions[sid])

    def pub(self, subject: str, payload: bytes | str, reply_to: str | None = None) -> None:
        """Publish.

        :param payload: text is sent as UTF-8.
        :raises BadSubject: for a subject or reply that cannot be.
        :raises TypeError: for a payload that is neither bytes nor text.
        :raises PayloadTooLarge: for more than the server takes.
        :raises NotConnected: without a connection; the message was not sent.
        """
        check_publish_subject(subject)
        if reply_to is not None:
            check_publish_subject(reply_to, "the reply")
        body: Any = payload.encode() if isinstance(payload, str) else payload
        if isinstance(body, bytearray | memoryview):
            body = bytes(body)
        event = actions.SendPub(self, subject, body, reply_to)
        limit = self.server_settings.max_payload if self.server_settings is not None else None
        if limit is not None and 0 < limit < len(body):
            raise PayloadTooLarge(f"{len(body)} bytes, the server takes at most {limit}")
        self._write(parser.encode_pub(subject, body, reply_to))
        self.dispatch(event)

    def sub(
        self,
        subject: str,
        sid: str | int,
        queue_group: str | None = None,
        on_msg: Handler | None = None,
    ) -> None:
        """Subscribe; without a connection, as soon as there is one.

        :param sid: any text without blanks, unused in this connection; a number becomes text.
        :raises BadSubject: for a subject or queue group that cannot be.
        :raises ValueError: for a sid that cannot be.
        """
        arguments = SubscriptionArgs(subject, sid_text(sid), queue_group, on_msg)
        sid = arguments.sid
        event = actions.SendSub(sid, self, subject, queue_group, on_msg)
        line = parser.encode_sub(subject, sid, queue_group)
        if sid not in self.sids:
            self._delivered.pop(sid, None)
        self.sids[sid] = on_msg
        self.subscriptions[sid] = arguments
        self._ended.pop(sid, None)
        if self.transport is None:
            self._early.add(sid)
            return
        self._early.discard(sid)
        if self._open:
            self.dispatch(event)
            self._write(line)

    def unsub(self, sid: str | int, max_msgs: int | None = None) -> None:
        """End a subscription: now, or after so many messages counted from its start.

        :raises ValueError: for a sid that cannot be, or a negative number.
        """
        event = actions.SendUnsub(sid_text(sid), self, max_msgs)
        sid = event.sid
        if max_msgs is not None and max_msgs < 0:
            raise ValueError(f"a subscription cannot end after {max_msgs} messages")
        if max_msgs:
            self.unsubs[sid] = max_msgs - self._delivered.get(sid, 0)
        else:
            self._forget(sid)
        if self._open:
            self._write(f"UNSUB {sid} {max_msgs or ''}\r\n".encode("utf-8", "surrogateescape"))
            self.dispatch(event)
        if sid != self._delivering:
            self._end_if_reached(sid)

    def apply_subscriptions(self) -> None:
        """Subscribe to everything in :attr:`subscriptions`, where there is a connection."""
        if self.status == CONNECTED:
            for arguments in tuple(self.subscriptions.values()):
                self._send_subscription(arguments)

    def _send_subscription(self, arguments: SubscriptionArgs) -> None:
        sid = arguments.sid
        self.sub(arguments.subject, sid, arguments.queue_group, arguments.on_msg)
        if sid in self.unsubs:
            self.unsub(sid, self._delivered.get(sid, 0) + self.unsubs[sid])

    def ping(self) -> None:
        """Send PING, or drop a connection that left too many unanswered; nothing without one."""
        if not self._open:
            return
        if self.pout >= self.max_outstanding_pings:
            self.abort(NotConnected(f"stale connection: {self.pout} PINGs were not answered"))
            return
        self._write(b"PING\r\n")
        self.pout += 1
        self.dispatch(actions.SendPing(self, self.pout))

    def pong(self) -> None:
        """Send PONG; nothing without a connection."""
        if not self._open:
            return
        self._write(b"PONG\r\n")
        self.dispatch(actions.SendPong(self))

    def request(self, sid: str, subject: str) -> None:
        """Not part of txnats either; :raises NotImplementedError: always."""
        raise NotImplementedError("publish with a reply_to that you are subscribed to")


def _check_signature(on_msg: Handler) -> None:
    try:
        signature = inspect.signature(on_msg)
    except ValueError:
        return  # some builtins have none
    signature.bind(nats_protocol=None, sid="", subject="", reply_to=None, payload=b"")


def _awaited(result: Any) -> Any:
    return Deferred.fromCoroutine(result) if inspect.iscoroutine(result) else result


def _print_message(
    nats_protocol: NatsProtocol, sid: str, subject: str, reply_to: str | None, payload: bytes
) -> None:
    words = ["MSG", subject, sid, *([reply_to] if reply_to is not None else []), str(len(payload))]
    line = " ".join(words).encode("utf-8", "surrogateescape") + b"\r\n" + payload
    sys.stdout.write(line.decode("utf-8", "replace"))
