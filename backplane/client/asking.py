"""One job on the network, from the first word of discovery to the last answer.

It ends before its time when the operator interrupts it, the broker is lost or
refuses its subjects, or the time for the whole run is over before the request was
sent: a change is not sent when nobody would wait for the answers. What was known
by then is told all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from backplane.choria import rpc, subjects, v1
from backplane.choria.filter import Filter
from backplane.choria.message import Request
from backplane.client.accounting import Answer, Outcome, Stop
from backplane.client.discovery import Discovery
from backplane.client.jobs import Job
from backplane.errors import DecodeError
from backplane.nats.client import Disconnected, Message, NatsClient, ServerError, Subscription
from backplane.nats.errors import NatsError, NotConnected

__all__ = ["Run"]

DISCOVERY_BODY: Final = "cGluZw=="
"""``ping`` in base64, as Go clients send it."""

BATCH: Final = 512 * 1024
"""Bytes of requests after which the broker is waited for. One for each service of a large fleet
would not fit into the memory of a connection."""

PATIENCE: Final = 60.0
"""Seconds that the broker may take for that."""

MAX_STRANGERS: Final = 100
"""Identities that answered unasked, or too often, beyond the number of those that were asked."""


class _Operator(Protocol):
    """What a run needs of :class:`backplane.client.run.Operator`."""

    client: NatsClient
    clock: IReactorTime

    def document(self, job: Job, agent: str, body: str, wanted: Filter) -> Request: ...

    def reply_to(self, request: Request) -> str: ...

    def sealed(self, request: Request) -> bytes: ...


class _Progress(Protocol):
    """What a run tells; it is :class:`backplane.client.run.Progress`."""

    def found(self, count: int) -> None: ...

    def discovered(self, count: int) -> None: ...

    def replied(self, answer: Answer) -> None: ...

    def answered(self, done: int, count: int) -> None: ...


class Run:
    """A job under way.

    :param started: the clock's time from which the job's ``timeout`` counts.
    :param only_discover: ask nobody.
    :ivar result: fires with the :class:`~backplane.client.accounting.Outcome`; cancelling it
        ends the run without one.
    """

    def __init__(
        self,
        operator: _Operator,
        job: Job,
        progress: _Progress,
        started: float,
        only_discover: bool = False,
    ) -> None:
        self._operator = operator
        self._client = operator.client
        self._clock = operator.clock
        self._job = job
        self._progress = progress
        self._only_discover = only_discover
        self._end = started + job.timeout if job.timeout is not None else float("inf")
        self._began = self._clock.seconds()
        self._asked = self._began
        self._discovery = Discovery(job.rule, self._began)
        self._search = operator.document(job, "discovery", DISCOVERY_BODY, job.filter)
        self._request = operator.document(
            job,
            job.agent,
            rpc.encode_request(job.agent, job.action, job.data),
            Filter(agent=(job.agent,)),
        )
        self._answers: list[Answer] = []
        self._answered: Counter[str] = Counter()
        self._surplus: list[Answer] = []
        self._invalid: Counter[str] = Counter()
        self._unexpected: set[str] = set()
        self._sent = False
        self._stop: Stop | None = None
        self._reason = ""
        self._over: Callable[[], bool] = lambda: False
        self._woken: Deferred[None] = Deferred()
        self._waits_until = float("inf")
        self._subjects: set[str] = set()
        self._subscriptions: list[Subscription] = []
        self.result: Deferred[Outcome] = Deferred.fromCoroutine(self._run())

    def interrupt(self) -> None:
        """End the run; its result is what is known so far."""
        self._halt(Stop.INTERRUPTED, "interrupted")

    # The run.

    async def _run(self) -> Outcome:
        self._client.add_listener(self._heard)
        try:
            await self._discover()
            if self._stop is None and not self._only_discover:
                await self._ask()
        except NotConnected as error:
            self._halt(Stop.LOST, f"the broker was lost: {error}")
        except NatsError as error:
            self._halt(Stop.NOT_SENT, f"it cannot be sent: {error}")
        finally:
            self._client.remove_listener(self._heard)
            for subscription in self._subscriptions:
                subscription.unsubscribe()
        return self._outcome()

    async def _discover(self) -> None:
        discovery = self._discovery
        self._subscribe(self._search, self._discovery_answer)
        self._publish(subjects.broadcast(self._job.collective, "discovery"), self._search)
        await self._wait(lambda: min(discovery.ends(), self._end), lambda: discovery.complete)
        discovery.end()
        now = self._asked = self._clock.seconds()
        if self._stop is not None:
            return
        self._progress.discovered(discovery.found.total())
        if now >= self._end:
            self._halt(Stop.NOT_SENT, f"{self._job.timeout:g} s were over during discovery")

    async def _ask(self) -> None:
        job, found = self._job, self._discovery.found
        if not found:
            return
        self._subscribe(self._request, self._reply)
        document = self._operator.sealed(self._request)
        under_way = 0
        for identity in sorted(found):
            if under_way >= BATCH:
                await self._taken()
                if self._stop is not None or self._clock.seconds() >= self._end:
                    return  # who was not asked any more is among those without an answer
                under_way = 0
            subject = subjects.node(job.collective, identity)
            self._subjects.add(subject)
            self._client.publish(subject, document)
            self._sent = True
            under_way += len(document)
        until = self._end
        if job.timeout is None:
            until = self._clock.seconds() + job.rule.timeout + job.agent_timeout
        await self._wait(lambda: until, lambda: len(self._answers) >= found.total())

    async def _taken(self) -> None:
        """Wait until the broker has what was sent; answers come meanwhile."""
        flushed = self._client.flush(None)
        # A connection that is lost ends the run by its event.
        flushed.addErrback(lambda failure: failure.trap(NatsError))
        flushed.addCallback(lambda result: self._wake())
        end = min(self._end, self._clock.seconds() + PATIENCE)
        await self._wait(lambda: end, lambda: flushed.called)
        if not flushed.called and end < self._end:
            self._halt(Stop.LOST, f"the broker did not take requests within {PATIENCE:g} s")

    async def _wait(self, until: Callable[[], float], over: Callable[[], bool]) -> None:
        """Wait until it is over, stopped, or time."""
        self._over = over
        while self._stop is None and not over():
            left = until() - self._clock.seconds()
            if left <= 0:
                return
            self._waits_until = until()
            timer = self._clock.callLater(left, self._wake)
            try:
                await self._woken
            except CancelledError:
                self._woken = Deferred()
                raise
            finally:
                if timer.active():
                    timer.cancel()
            self._woken = Deferred()

    def _wake(self) -> None:
        if not self._woken.called:
            self._woken.callback(None)

    def _halt(self, stop: Stop, reason: str) -> None:
        if self._stop is None:
            self._stop = stop
            self._reason = reason
            self._wake()

    def _subscribe(self, request: Request, answer: Callable[[Message], None]) -> None:
        subject = self._operator.reply_to(request)
        self._subjects.add(subject)
        self._subscriptions.append(self._client.subscribe(subject, answer))

    def _publish(self, subject: str, request: Request) -> None:
        self._subjects.add(subject)
        self._client.publish(subject, self._operator.sealed(request))

    # What comes.

    def _heard(self, event: object) -> None:
        if isinstance(event, Disconnected):
            self._halt(Stop.LOST, f"the broker was lost: {event.reason}")
        elif isinstance(event, ServerError) and event.subject in self._subjects:
            self._halt(Stop.REFUSED, f"the broker refuses: {event.text}")

    def _discovery_answer(self, message: Message) -> None:
        discovery = self._discovery
        try:
            sender = v1.decode_transport(message.payload).sender
        except DecodeError as error:
            self._invalid[error.reason] += 1
            return
        if not discovery.answered(sender, self._clock.seconds()):
            return
        if discovery.ended:
            self._namesake(sender)
            return
        try:
            self._progress.found(discovery.found.total())
        finally:
            # Most answers only put the end off, and are thousands.
            if discovery.complete or discovery.ends() < self._waits_until:
                self._wake()

    def _namesake(self, sender: str) -> None:
        """Expect one more answer of an identity: whoever shares it was asked as well."""
        for answer in self._surplus:
            if answer.sender == sender:
                self._surplus.remove(answer)
                self._count(answer)
                return

    def _reply(self, message: Message) -> None:
        try:
            _, reply = v1.open_reply(message.payload)
            if reply.request_id != self._request.request_id:
                raise DecodeError("other_request", "reply", "it answers another request")
            body = rpc.decode_reply(reply.message)
        except DecodeError as error:
            self._invalid[error.reason] += 1
            return
        sender = reply.sender_id
        found = self._discovery.found
        bound = found.total() + MAX_STRANGERS
        if sender not in found:
            if len(self._unexpected) < bound:
                self._unexpected.add(sender)
            return
        body = attrs.evolve(body, action=body.action or self._job.action)
        answer = Answer(sender, body, self._clock.seconds() - self._asked)
        if self._answered[sender] < found[sender]:
            self._count(answer)
        elif len(self._surplus) < bound:
            self._surplus.append(answer)

    def _count(self, answer: Answer) -> None:
        self._answered[answer.sender] += 1
        self._answers.append(answer)
        try:
            self._progress.replied(answer)
            self._progress.answered(len(self._answers), self._discovery.found.total())
        finally:
            # What is told of it may raise; the run must end all the same.
            if self._over():
                self._wake()

    def _conflicts(self) -> tuple[str, ...]:
        """Return who answered once more, and said something else than before."""
        said: dict[str, list[rpc.RpcReply]] = {}
        for answer in self._answers:
            said.setdefault(answer.sender, []).append(answer.reply)
        other = {each.sender for each in self._surplus if each.reply not in said[each.sender]}
        return tuple(sorted(other))

    def _outcome(self) -> Outcome:
        job, discovery = self._job, self._discovery
        found: Mapping[str, int] = dict(discovery.found)
        invalid = self._invalid
        if discovery.refused:
            invalid["bad_sender"] += discovery.refused
        return Outcome(
            service=job.service,
            agent=job.agent,
            action=job.action,
            request_id=self._request.request_id,
            discovered=found,
            answers=tuple(self._answers),
            named=job.rule.named,
            expect=job.rule.expect,
            late=tuple(sorted(discovery.late.elements())),
            invalid=dict(invalid),
            repeated=tuple(sorted(answer.sender for answer in self._surplus)),
            conflicts=self._conflicts(),
            unexpected=tuple(sorted(self._unexpected)),
            sent=self._sent,
            stop=self._stop,
            reason=self._reason,
            discovery_seconds=self._asked - self._began,
            request_seconds=self._clock.seconds() - self._asked,
        )
