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
from twisted.internet.interfaces import ISSLTransport
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
    ConnectionFailed,
    NatsError,
    PayloadTooLarge,
)
from backplane.nats.sids import SidTable
from backplane.nats.validators import check_publish_subject
from backplane.nats.wire import CONNECTED, DISCONNECTED, EventProtocol, awaited

__all__ = ["CLIENT_NAME", "CONNECTED", "DISCONNECTED", "LANG", "NatsProtocol"]

LANG: Final = "py.twisted"
CLIENT_NAME: Final = "txnats"

Handler = Callable[..., Any]


class NatsProtocol(EventProtocol):
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
    :ivar pout: PINGs that were not answered.
    :ivar max_outstanding_pings: above it :meth:`ping` drops the connection.
    :ivar closed_here: the connection ended because its transport was told to close.
    :ivar handshake_d: set by whoever wants to know whether INFO comes; until then
        a loss is his to deal with.
    """

    log = Logger()
    server_settings: ServerInfo | None = None

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
            self.on_connect_d.addCallback(awaited)
        self._table = SidTable(text_keys(subscriptions), text_keys(unsubs))
        super().__init__(own_reactor, event_subscribers)

    def _begin(self) -> None:
        super()._begin()
        self._table.begin()
        self._info: dict[str, Any] = {}
        self._delivering: str | None = None

    def __repr__(self) -> str:
        return f"<NatsProtocol connected={self.status} server_info={self.server_settings}>"

    @property
    def sids(self) -> dict[str, Handler | None]:
        """Sids of this connection and their handlers."""
        return self._table.handlers

    @property
    def subscriptions(self) -> dict[str, SubscriptionArgs]:
        """Sids and what is subscribed, over all connections."""
        return self._table.subscriptions

    @subscriptions.setter
    def subscriptions(self, subscriptions: dict[str, SubscriptionArgs]) -> None:
        self._table.subscriptions = subscriptions

    @property
    def unsubs(self) -> dict[str, int]:
        """Sids and the number of messages that they may still get."""
        return self._table.unsubs

    @unsubs.setter
    def unsubs(self, unsubs: dict[str, int]) -> None:
        self._table.unsubs = unsubs

    # What comes.

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
        if not self._table.deliver(sid):
            return
        own = self.sids.get(sid)
        handler = own if own is not None else self.on_msg
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
        if self._table.end_if_reached(sid):
            self.dispatch(actions.UnsubMaxReached(sid, self))

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
        for arguments in self._table.early():
            self._send_subscription(arguments)

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
        self._table.record(arguments, early=self.transport is None)
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
            self._table.limit(sid, max_msgs)
        else:
            self._table.forget(sid)
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
        limit = self._table.total(sid)
        if limit is not None:
            self.unsub(sid, limit)

    def request(self, sid: str, subject: str) -> None:
        """Not part of txnats either; :raises NotImplementedError: always."""
        raise NotImplementedError("publish with a reply_to that you are subscribed to")


def _check_signature(on_msg: Handler) -> None:
    try:
        signature = inspect.signature(on_msg)
    except ValueError:
        return  # some builtins have none
    signature.bind(nats_protocol=None, sid="", subject="", reply_to=None, payload=b"")


def _print_message(
    nats_protocol: NatsProtocol, sid: str, subject: str, reply_to: str | None, payload: bytes
) -> None:
    words = ["MSG", subject, sid, *([reply_to] if reply_to is not None else []), str(len(payload))]
    line = " ".join(words).encode("utf-8", "surrogateescape") + b"\r\n" + payload
    sys.stdout.write(line.decode("utf-8", "replace"))
