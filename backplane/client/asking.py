"""One job on the network, from the first word of discovery to the last answer.

It ends before its time when the operator interrupts it, the broker is lost or
refuses its subjects, or the time for the whole run is over before the request was
sent: a change is not sent when nobody would wait for the answers. What was known
by then is told all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from backplane.choria import rpc, subjects, v1
from backplane.choria.filter import Filter
from backplane.choria.message import Request
from backplane.client.accounting import Answer, Outcome, Stop
from backplane.client.courses import AtOnce, Batch, Course
from backplane.client.discovery import Discovery
from backplane.client.jobs import MAX_NAMES_SENT, Job
from backplane.client.replies import MAX_STRANGERS, Replies
from backplane.client.waiting import Waiting
from backplane.errors import DecodeError
from backplane.nats.client import Disconnected, Message, NatsClient, ServerError, Subscription
from backplane.nats.errors import NatsError, NotConnected

__all__ = ["MAX_STRANGERS", "Run"]

DISCOVERY_BODY: Final = "cGluZw=="
"""``ping`` in base64, as Go clients send it."""

BATCH: Final = 512 * 1024
"""Bytes of requests after which the broker is waited for. One for each service of a large fleet
would not fit into the memory of a connection."""

PATIENCE: Final = 60.0
"""Seconds that the broker may take for that."""

CHECK: Final = 1.0
"""Seconds that those who were seen of late, and do not match, have to say that they are there."""


class _Operator(Protocol):
    """What a run needs of :class:`backplane.client.run.Operator`."""

    client: NatsClient
    clock: IReactorTime

    def document(
        self, job: Job, agent: str, body: str, wanted: Filter, request_id: str | None = None
    ) -> Request: ...

    def reply_to(self, request: Request) -> str: ...

    def sealed(self, request: Request) -> bytes: ...


class _Progress(Protocol):
    """What a run tells; it is :class:`backplane.client.run.Progress`."""

    def found(self, count: int) -> None: ...

    def discovered(self, count: int) -> None: ...

    def replied(self, answer: Answer) -> None: ...

    def answered(self, done: int, count: int) -> None: ...


class Run(Waiting):
    """A job under way.

    :param started: the clock's time from which the job's ``timeout`` counts.
    :param only_discover: ask nobody.
    :param course: who is asked when; everybody at once by default.
    :param known: whom to ask, with how many services have each identity, in place of
        discovery.
    :ivar handed_out: identities that the course has named so far.
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
        course: Course | None = None,
        known: Mapping[str, int] | None = None,
    ) -> None:
        ends = started + job.timeout if job.timeout is not None else float("inf")
        super().__init__(operator.clock, ends)
        self._operator = operator
        self._client = operator.client
        self._job = job
        self._progress = progress
        self._only_discover = only_discover
        self._course = course if course is not None else AtOnce()
        self._known = known
        self.handed_out: set[str] = set()
        self._left_out: frozenset[str] = frozenset()
        self._halted = ""
        self._current: frozenset[str] = frozenset()
        self._awaited = 0  # answers of those asked last
        self._began = self._clock.seconds()
        self._discovered = self._asked = self._asked_first = self._began
        self._discovery = Discovery(job.rule, self._began)
        self._search = operator.document(job, "discovery", DISCOVERY_BODY, job.filter)
        self._unseen: set[str] = set()
        self._sighted: set[str] = set()
        self._check_ends = self._began
        self._finished: float | None = None
        self._request = self._document(job.data)
        self._replies = Replies()
        self._sent = False
        self._subjects: set[str] = set()
        self._subscriptions: list[Subscription] = []
        self.result: Deferred[Outcome] = Deferred.fromCoroutine(self._run())

    # What a course asks and says.

    @property
    def request_id(self) -> str:
        """The id of the request, the same for all who are asked."""
        return self._request.request_id

    @property
    def found(self) -> Mapping[str, int]:
        """Identities that were discovered, with how many services have each."""
        return self._discovery.found

    @property
    def answers(self) -> Sequence[Answer]:
        """The answers so far."""
        return self._replies.answers

    def leave_out(self, names: Collection[str]) -> None:
        """Say who was found and is not meant."""
        self._left_out = frozenset(names)

    def halt(self, reason: str) -> None:
        """Say why nobody else is asked."""
        self._halted = reason

    # The run.

    async def _run(self) -> Outcome:
        self._client.add_listener(self._heard)
        try:
            await self._discover()
            if self._stop is None and not self._only_discover:
                self._check()
                await self._ask()
                self._finished = self._clock.seconds()
                await self._wait(lambda: min(self._check_ends, self._end), self._accounted)
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
        if self._known is not None:
            discovery.found.update(self._known)
            discovery.end()
            self._progress.discovered(discovery.found.total())
            return
        self._subscribe(self._search, self._discovery_answer)
        self._publish(subjects.broadcast(self._job.collective, "discovery"), self._search)
        await self._wait(lambda: min(discovery.ends(), self._end), lambda: discovery.complete)
        discovery.end()
        now = self._discovered = self._asked = self._asked_first = self._clock.seconds()
        if self._stop is not None:
            return
        self._progress.discovered(discovery.found.total())
        if now >= self._end:
            self._halt(Stop.NOT_SENT, f"{self._job.timeout:g} s were over during discovery")

    def _check(self) -> None:
        """Ask those who were seen of late and do not match whether they are there at all.

        Who is frozen answers no discovery; who merely does not match answers this one.
        """
        job = self._job
        self._unseen = set(job.roster | job.faded) - self._discovery.found.keys()
        if not self._unseen or self._known is not None:
            self._unseen.clear()
            return
        if job.plain:
            return  # this was what discovery asked
        few = len(self._unseen) <= MAX_NAMES_SENT
        names = tuple(sorted(self._unseen)) if few else ()
        wanted = Filter(agent=job.filter.agent, identity=names)
        search = self._operator.document(job, "discovery", DISCOVERY_BODY, wanted)
        self._subscribe(search, self._sighting)
        self._publish(subjects.broadcast(job.collective, "discovery"), search)
        self._check_ends = self._clock.seconds() + min(CHECK, job.rule.timeout)

    def _sighting(self, message: Message) -> None:
        try:
            sender = v1.decode_transport(message.payload).sender
        except DecodeError as error:
            self._replies.invalid[error.reason] += 1
            return
        if sender in self._unseen:
            self._unseen.discard(sender)
            self._sighted.add(sender)
            if not self._unseen:
                self._wake()

    def _accounted(self) -> bool:
        """Say whether it is known of everybody on the roster whether he is there."""
        return not self._unseen & self._job.roster

    async def _ask(self) -> None:
        if not self._discovery.found:
            return
        self._subscribe(self._request, self._reply)
        while (batch := await self._course.next(self)) is not None and not self.over:
            await self._ask_batch(batch)
        waiting = len(self.handed_out) < self._names_meant()
        if self._sent and self.late and not self._halted and waiting:
            self._halted = f"{self._job.timeout:g} s were over"

    def _names_meant(self) -> int:
        """Return how many identities are asked, or would be."""
        return len(self._discovery.found.keys() - self._left_out)

    async def _ask_batch(self, batch: Batch) -> None:
        job, found = self._job, self._discovery.found
        self._current = frozenset(batch.names)
        self._awaited = sum(found[name] for name in self._current)
        self.handed_out |= self._current
        data = job.data if batch.data is None else batch.data
        # It may be long since the first.
        document = self._operator.sealed(self._document(data, self._request.request_id))
        self._asked = self._clock.seconds()
        if not self._sent:
            self._asked_first = self._asked
        under_way = 0
        for identity in batch.names:
            if under_way >= BATCH:
                await self._taken()
                if self.over:
                    return  # who was not asked any more is among those without an answer
                under_way = 0
            subject = subjects.node(job.collective, identity)
            self._subjects.add(subject)
            self._client.publish(subject, document)
            self._sent = True
            under_way += len(document)
        until = self._end
        if job.timeout is None or job.rollout.batch is not None:
            # In steps, one who is frozen does not take the time of the others.
            usual = self._clock.seconds() + job.rule.timeout + job.agent_timeout
            until = min(until, usual)
        await self._wait(lambda: until, lambda: self._awaited <= 0)

    def _document(self, data: Mapping[str, Any], request_id: str | None = None) -> Request:
        job = self._job
        body = rpc.encode_request(job.agent, job.action, data)
        wanted = Filter(agent=(job.agent,))
        return self._operator.document(job, job.agent, body, wanted, request_id)

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
            self._replies.invalid[error.reason] += 1
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
        if sender in self._current:
            self._awaited += 1
        answer = self._replies.one_more(sender)
        if answer is not None:
            self._counted(answer)

    def _reply(self, message: Message) -> None:
        read = self._replies.read(message.payload, self._request.request_id)
        if read is None:
            return
        sender, body = read
        found = self._discovery.found
        if sender not in self.handed_out:
            self._replies.stranger(sender, found.total())
            return
        body = attrs.evolve(body, action=body.action or self._job.action)
        answer = Answer(sender, body, self._clock.seconds() - self._asked)
        if self._replies.take(answer, found[sender], found.total()):
            self._counted(answer)

    def _counted(self, answer: Answer) -> None:
        if answer.sender in self._current:
            self._awaited -= 1
        try:
            self._progress.replied(answer)
            self._progress.answered(len(self._replies.answers), self._meant())
        finally:
            # What is told of it may raise; the run must end all the same.
            if self._over():
                self._wake()

    def _meant(self) -> int:
        """Return how many services are asked, or would be."""
        found = self._discovery.found
        return found.total() - sum(found[name] for name in self._left_out)

    def _outcome(self) -> Outcome:
        job, discovery = self._job, self._discovery
        found: Mapping[str, int] = dict(discovery.found)
        replies, invalid = self._replies, self._replies.invalid
        ended = self._clock.seconds() if self._finished is None else self._finished
        if discovery.refused:
            invalid["bad_sender"] += discovery.refused
        return Outcome(
            service=job.service,
            agent=job.agent,
            action=job.action,
            request_id=self._request.request_id,
            discovered=found,
            answers=tuple(replies.answers),
            named=job.rule.named,
            expect=job.rule.expect,
            at_least=job.at_least,
            roster=job.roster if self._known is None else frozenset(),
            faded=job.faded if self._known is None else frozenset(),
            whole=job.whole,
            sighted=frozenset(self._sighted),
            late=tuple(sorted(discovery.late.elements())),
            invalid=dict(invalid),
            repeated=replies.repeated,
            conflicts=replies.conflicts,
            unexpected=tuple(sorted(replies.unexpected)),
            sent=self._sent,
            stop=self._stop,
            reason=self._reason,
            left_out=tuple(sorted(self._left_out)),
            untouched=tuple(sorted(found.keys() - self.handed_out - self._left_out))
            if self._sent
            else (),
            halted=self._halted,
            discovery_seconds=self._discovered - self._began,
            request_seconds=ended - self._asked_first,
        )
