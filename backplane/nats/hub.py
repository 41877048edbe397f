"""Where things from the connection go: to subscriptions, requests, publishes, listeners."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

from backplane.nats import parser
from backplane.nats.announcing import Announcer
from backplane.nats.connection import NatsConnection
from backplane.nats.counts import Counts
from backplane.nats.draining import Drainer
from backplane.nats.errors import NatsError
from backplane.nats.events import BadHeaders, read_error
from backplane.nats.headers import HeadersError, check_block
from backplane.nats.publishing import Publisher
from backplane.nats.requests import Requests
from backplane.nats.subscription import Subscriptions
from backplane.nats.verdict import Verdict, judge

__all__ = ["Hub"]


class Hub:
    """What the dialer of one client tells; it is a :class:`backplane.nats.dialer.Caller`.

    :ivar subscriptions, requests, publisher, drainer: set before anything comes.
    :ivar over: called when no server is left to try.
    """

    subscriptions: Subscriptions
    requests: Requests
    publisher: Publisher
    drainer: Drainer
    over: Callable[[NatsError], None]

    def __init__(self, announcer: Announcer, counts: Counts, log: Logger) -> None:
        self._announcer = announcer
        self._counts = counts
        self._log = log

    def connected(self, connection: NatsConnection) -> None:
        """See :class:`backplane.nats.dialer.Caller`."""
        self.subscriptions.forget_denials()
        connection.send(self.subscriptions.lines())
        self.publisher.resume(connection)

    def subscribing(self) -> bytes:
        """See :class:`backplane.nats.handover.Mover`."""
        return self.subscriptions.lines()

    def unsubscribing(self) -> bytes:
        """See :class:`backplane.nats.handover.Mover`."""
        return self.subscriptions.ends()

    def taken_over(self) -> None:
        """See :class:`backplane.nats.handover.Mover`."""
        self.subscriptions.forget_denials()

    @property
    def any_denied(self) -> bool:
        """See :class:`backplane.nats.handover.Mover`."""
        return self.subscriptions.any_denied

    def message(self, message: parser.Msg) -> None:
        """See :class:`backplane.nats.dialer.Caller`."""
        if message.headers is not None:
            try:
                check_block(message.headers)
            except HeadersError as error:
                self.emit(BadHeaders(message.subject, message.sid, error))
                message = attrs.evolve(message, headers=None)
        self.subscriptions.deliver(message)

    def refused(self, text: str, established: bool) -> Verdict:
        """See :class:`backplane.nats.dialer.Caller`."""
        error = read_error(text)
        verdict = judge(text)
        self._counts.errors[error.kind] += 1
        if error.kind == "subscribe":
            error = self.subscriptions.deny(error)
        if verdict is Verdict.OURS:
            self._log.error(
                "the server says: {text}; that is our fault, or its configuration's",
                text=text[:300],
            )
        elif established:
            self._log.debug("the server says: {text}", text=text[:300])
        if established:
            self.emit(error)
        return verdict

    def emit(self, event: object) -> None:
        """See :class:`backplane.nats.dialer.Caller`."""
        self.requests.heard(event)
        self._announcer.emit(event)
        self.drainer.heard(event)  # which may be the end, so this comes last
