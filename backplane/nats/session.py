"""The client's side of one connection: handshake, keep-alive, answers to PINGs.

Bytes go in, events come out; what is to be sent is collected in
:attr:`Session.outgoing`. Order of the handshake: INFO from the server, CONNECT
and PING from us in one write, then ``+OK`` where it was asked for, then PONG.
A later INFO only replaces what is known; it is never answered by a CONNECT,
which would drop all subscriptions.

Pure: no Twisted, no clock. Source: NATS client protocol; ADR-40.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from backplane.nats import parser
from backplane.nats.errors import ConnectionFailed, ProtocolError
from backplane.nats.operations import Msg

__all__ = ["Answered", "Established", "InfoChanged", "Refused", "Session", "SessionEvent"]

PING_LINE: Final = b"PING\r\n"
PONG_LINE: Final = b"PONG\r\n"

DEFAULT_MAX_PAYLOAD: Final = 1024 * 1024
"""Bytes that a server takes which does not say."""


@attrs.frozen
class Established:
    """The handshake is done."""


@attrs.frozen
class InfoChanged:
    """A later INFO came."""

    fields: Mapping[str, Any]


@attrs.frozen
class Answered:
    """The oldest PING was answered; ``token`` is what came with it."""

    token: object


@attrs.frozen
class Refused:
    """``-ERR``."""

    text: str


SessionEvent = Established | InfoChanged | Answered | Refused | parser.Msg


class Session:
    """One connection, from INFO to its end.

    :param connect: given the fields of INFO, returns those of CONNECT.
    :ivar info: fields of the last INFO.
    :ivar max_payload: bytes of headers and payload that the server takes.
    :ivar headers: whether it takes messages with headers.
    :ivar outgoing: what is to be sent, in order; whoever sends it clears it.
    :ivar established: the handshake is done.
    :ivar proven: a PING after the handshake was answered, so our subscriptions were taken.
    :ivar unanswered: keep-alive PINGs since the last PONG.
    """

    def __init__(self, connect: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        self._connect = connect
        self._parser = parser.Parser("client")
        self._waiting: deque[object] = deque()
        self.info: dict[str, Any] = {}
        self.max_payload = DEFAULT_MAX_PAYLOAD
        self.headers = False
        self.outgoing: list[bytes] = []
        self.established = False
        self.proven = False
        self.unanswered = 0

    @property
    def unfinished(self) -> bool:
        """Whether a part of a line or payload was received, or anything after INFO."""
        return self._parser.unfinished or self.established

    @property
    def outstanding(self) -> int:
        """PINGs that were not answered."""
        return len(self._waiting)

    @property
    def pending(self) -> list[object]:
        """Tokens of PINGs that were not answered."""
        return [token for token in self._waiting if token is not None]

    def receive(self, data: bytes) -> list[SessionEvent]:
        """Take received bytes.

        :raises ProtocolError: when the server does not speak NATS; its ``events`` are
            the :data:`SessionEvent` before that.
        :raises ConnectionFailed: when what was expected first did not come.
        """
        events: list[SessionEvent] = []
        error: ProtocolError | None = None
        try:
            parsed = self._parser.feed(data)
        except ProtocolError as problem:
            if not self.info:
                raise ConnectionFailed(
                    f"not a NATS server: got {data[:40]!r}", phase="info"
                ) from None
            error = problem
            parsed = problem.events  # type: ignore[assignment]
        if self.established and not self._parser.mixed and error is None:
            return parsed  # type: ignore[return-value]  # nearly always
        for item in parsed:
            self._take(item, events)
        if error is not None:
            raise ProtocolError(str(error), events, error.kind)
        return events

    def ping(self, token: object) -> None:
        """Send a PING; :class:`Answered` with this token comes with its PONG."""
        self._waiting.append(token)
        self.outgoing.append(PING_LINE)

    def keep_alive(self) -> None:
        """Send a PING that nobody waits for."""
        self.unanswered += 1
        self.ping(None)

    def _take(self, item: parser.Event, events: list[SessionEvent]) -> None:
        if not self.info and not isinstance(item, parser.Info):
            said = "MSG" if isinstance(item, Msg) else type(item).__name__.upper()
            if isinstance(item, parser.Err):
                said = f"-ERR {item.text[:80]!r}"
            raise ConnectionFailed(f"not a NATS server: {said} came before INFO", phase="info")
        if isinstance(item, parser.Msg):
            if not self.established:
                raise ProtocolError("a message before the handshake was done", events)
            events.append(item)
        elif isinstance(item, parser.Ping):
            self.outgoing.append(PONG_LINE)
        elif isinstance(item, parser.Pong):
            self._pong(events)
        elif isinstance(item, parser.Info):
            self._info(item.fields, events)
        elif isinstance(item, parser.Err):
            events.append(Refused(item.text))

    def _info(self, fields: dict[str, Any], events: list[SessionEvent]) -> None:
        first = not self.info
        self.info = {**self.info, **fields, "connect_urls": fields.get("connect_urls")}
        limit = self.info.get("max_payload")
        if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
            self.max_payload = limit
        self.headers = self.info.get("headers") is True
        if not first:
            events.append(InfoChanged(self.info))
            return
        fields = dict(self._connect(self.info))
        self.outgoing.append(parser.encode_connect(fields) + PING_LINE)

    def _pong(self, events: list[SessionEvent]) -> None:
        self.unanswered = 0
        if not self.established:
            self.established = True
            events.append(Established())
        elif self._waiting:
            self.proven = True
            token = self._waiting.popleft()
            if token is not None:
                events.append(Answered(token))
