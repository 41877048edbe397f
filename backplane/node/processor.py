"""From a message off the network to the reply on it: admission, dispatch, publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from backplane.choria import rpc, v1
from backplane.choria.message import Reply
from backplane.choria.rpc import StatusCode
from backplane.logs import printable
from backplane.nats.client import Message
from backplane.nats.errors import NatsError, PayloadTooLarge
from backplane.node.admission import Admission
from backplane.node.dispatch import Dispatcher
from backplane.node.outcome import Accepted, Counters, Dropped, Refused, Wait

__all__ = ["Processor", "Publisher"]

MAX_HELD: Final = 1000
"""Changes of the start's own second that may wait until it is over."""

MAX_HELD_BYTES: Final = 4 * 1024 * 1024
"""The same in bytes; changes have some kilobytes."""

QUIET: Final = 60.0
"""Seconds between two log lines about messages dropped for the same reason."""


class Publisher(Protocol):
    """What is needed of the connection."""

    @property
    def is_moving(self) -> bool: ...

    def publish(self, subject: str, payload: bytes) -> None: ...


@attrs.define
class _Quiet:
    until: float
    count: int = 0


class Processor:
    """Takes messages of the node's subscriptions.

    :param identity: of this node, for replies.
    :param connection: replies are published here.
    :param clock: for delays.
    :param now: wall-clock time.
    """

    def __init__(
        self,
        *,
        identity: str,
        admission: Admission,
        dispatcher: Dispatcher,
        counters: Counters,
        connection: Publisher,
        clock: IReactorTime,
        now: Callable[[], float],
        log: Logger,
    ) -> None:
        self._identity = identity
        self._admission = admission
        self._dispatcher = dispatcher
        self._counters = counters
        self._connection = connection
        self._clock = clock
        self._now = now
        self._log = log
        self._held: dict[IDelayedCall, int] = {}
        self._quiet: dict[str, _Quiet] = {}
        self._refusing = False

    @property
    def busy(self) -> int:
        """How many requests are under way."""
        return self._dispatcher.running + len(self._held)

    def received(self, message: Message) -> None:
        """Take one message; never raises."""
        try:
            self._take(message.payload, message.subject)
        except Exception:
            # An error of ours must not cost the subscription.
            self._log.failure("a message on {subject} was not handled", subject=message.subject)

    def refuse(self) -> None:
        """Take no new requests; for stopping."""
        self._refusing = True
        for delayed in list(self._held):
            if delayed.active():
                delayed.cancel()
        self._held.clear()

    def _take(self, payload: bytes, subject: str) -> None:
        if self._refusing:
            return
        verdict = self._admission.admit(payload, subject, self._now())
        if isinstance(verdict, Accepted):
            answer = self._dispatcher.dispatch(
                verdict.request, verdict.body, verdict.role, verdict.signer
            )
            answer.addCallback(self._reply, verdict)
            answer.addErrback(
                lambda failure: self._log.failure("a reply could not be made", failure)
            )
        elif isinstance(verdict, Refused):
            self._drop(verdict.reason, verdict.message)
            self._dispatcher.refused(verdict.request, verdict.body, verdict.reason, verdict.signer)
            action = _action(verdict.body)
            self._reply(rpc.encode_reply(action, StatusCode.ABORTED, verdict.message, {}), verdict)
        elif isinstance(verdict, Wait):
            self._hold(payload, subject, verdict)
        else:
            self._drop(verdict.reason, verdict.detail)

    def _hold(self, payload: bytes, subject: str, wait: Wait) -> None:
        size = sum(self._held.values()) + len(payload)
        if len(self._held) >= MAX_HELD or size > MAX_HELD_BYTES:
            dropped = Dropped("too_many_held", "too many changes in the second of the start")
            self._counters.count(dropped)
            self._drop(dropped.reason, dropped.detail)
            return

        def again() -> None:
            self._held.pop(delayed, None)
            self._take(payload, subject)

        delayed = self._clock.callLater(max(0.0, wait.until - self._now()), again)
        self._held[delayed] = len(payload)

    def _reply(self, text: str | None, accepted: Accepted | Refused) -> None:
        if text is None:
            self._counters.dropped["no_answer"] += 1
            self._drop("no_answer", f"agent {accepted.request.agent} had nothing to say")
            return
        reply_to = accepted.transport.reply_to
        assert reply_to is not None
        try:
            try:
                self._connection.publish(reply_to, self._sealed(text, accepted))
            except PayloadTooLarge as error:
                short = rpc.encode_reply(
                    _action(accepted.body),
                    StatusCode.UNKNOWN_ERROR,
                    f"the reply is larger than the broker takes: {error}",
                    {},
                )
                self._connection.publish(reply_to, self._sealed(short, accepted))
        except NatsError as error:
            self._counters.dropped["reply_lost"] += 1
            self._drop("reply_lost", str(error))
            return
        self._counters.replies += 1

    def _sealed(self, text: str, accepted: Accepted | Refused) -> bytes:
        request, transport = accepted.request, accepted.transport
        reply = Reply(
            message=text,
            request_id=request.request_id,
            sender_id=self._identity,
            agent=request.agent,
            time=int(self._now()),
        )
        federated = transport.federation is not None
        return v1.encode_transport(
            v1.seal_reply(reply),
            sender=self._identity,
            federation=transport.federation,
            seen_by=transport.seen_by if federated else (),
        )

    def _drop(self, reason: str, detail: str) -> None:
        """Log a drop, at most once a minute for each reason."""
        if reason == "filtered":
            self._log.debug("not for this node: {detail}", detail=printable(detail))
            return
        if reason == "repeated" and self._connection.is_moving:
            # What is broadcast comes over the old connection and the new one.
            self._log.debug("came twice: {detail}", detail=printable(detail))
            return
        now = self._clock.seconds()
        quiet = self._quiet.get(reason)
        if quiet is not None and now < quiet.until:
            quiet.count += 1
            return
        suppressed = f" ({quiet.count} more since the last such line)" if quiet else ""
        self._quiet[reason] = _Quiet(now + QUIET)
        self._log.warn(
            "message dropped, {reason}: {detail}{suppressed}",
            reason=reason,
            detail=printable(detail, 300),
            suppressed=suppressed,
        )


def _action(body: bytes) -> str:
    try:
        return rpc.decode_request(body).action
    except rpc.ActionError:
        return ""
