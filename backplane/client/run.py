"""An operator on the network: discover services, ask each of them, count the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from backplane.choria import rpc, subjects, v1
from backplane.choria.filter import Filter
from backplane.choria.message import Request, new_request_id
from backplane.client.accounting import Answer, Outcome
from backplane.client.discovery import Discovery, DiscoveryRule
from backplane.errors import DecodeError
from backplane.nats.client import Message, NatsClient
from backplane.security.signing import InsecureSigner

__all__ = ["Job", "Operator", "Progress"]

DISCOVERY_BODY: Final = "cGluZw=="
"""``ping`` in base64, as Go clients send it."""

TTL: Final = 60
GRACE: Final = 2.0
"""Seconds beyond an agent's timeout that replies are waited for: a service
answers within its timeout, and the answer travels."""


@attrs.frozen(kw_only=True)
class Job:
    """What is asked of whom.

    :ivar service: the application's name, for people.
    :ivar collective: usually ``SERVICE_backplane``.
    :ivar filter: who is meant.
    :ivar rule: when discovery ends.
    :ivar agent_timeout: seconds that the agent may take.
    :ivar timeout: seconds for the whole run, or ``None``.
    """

    service: str
    collective: str
    action: str
    agent: str = "backplane"
    data: Mapping[str, Any] = attrs.field(factory=dict)
    filter: Filter = attrs.field(factory=Filter)
    rule: DiscoveryRule = attrs.field(factory=DiscoveryRule)
    agent_timeout: float = 10.0
    timeout: float | None = None


class Progress:
    """Told how a run goes on; override what is of interest."""

    def discovered(self, count: int) -> None:
        """Discovery has ended."""

    def answered(self, done: int, count: int) -> None:
        """One more answer, of ``count`` that are awaited."""


class Operator:
    """Somebody who manages services.

    :param client: a started :class:`~backplane.nats.client.NatsClient`.
    :param caller_id: such as ``choria=sre.choria``.
    :param identity: of this host.
    :param now: wall-clock time.
    """

    def __init__(
        self,
        client: NatsClient,
        clock: IReactorTime,
        *,
        caller_id: str,
        identity: str,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._clock = clock
        self._caller_id = caller_id
        self._identity = identity
        self._now = now
        self._signer = InsecureSigner()

    def discover(self, job: Job) -> Deferred[Mapping[str, int]]:
        """Find the services that ``job`` means.

        :returns: identities, with how many services have each.
        """
        return Deferred.fromCoroutine(self._discover_only(job))

    def request(self, job: Job, progress: Progress | None = None) -> Deferred[Outcome]:
        """Discover, ask, and collect the answers.

        :returns: what became of it, also when nobody answered; fails with a
            :class:`~backplane.nats.errors.NatsError` when the broker is lost.
            Cancelling it stops the run.
        """
        return Deferred.fromCoroutine(
            self._request(job, progress if progress is not None else Progress())
        )

    async def _discover_only(self, job: Job) -> Mapping[str, int]:
        search = _Search(self, job)
        try:
            await search.run()
        finally:
            search.close()
        return dict(search.discovery.found)

    async def _request(self, job: Job, progress: Progress) -> Outcome:
        began = self._clock.seconds()
        search = _Search(self, job)
        try:
            await search.run()
            found = dict(search.discovery.found)
            asked = self._clock.seconds()
            progress.discovered(sum(found.values()))
            request = self._document(
                job,
                job.agent,
                rpc.encode_request(job.agent, job.action, job.data),
                Filter(agent=(job.agent,)),
            )
            asking = _Asking(self, job, found, progress, request)
            if found:
                left = job.rule.timeout + job.agent_timeout
                if job.timeout is not None:
                    left = min(left, max(0.1, began + job.timeout - asked))
                await asking.run(left)
        finally:
            search.close()
        return Outcome(
            service=job.service,
            agent=job.agent,
            action=job.action,
            request_id=request.request_id,
            discovered=found,
            answers=tuple(asking.answers),
            named=job.rule.named,
            expect=job.rule.expect,
            late=tuple(sorted(search.discovery.late.elements())),
            invalid=dict(asking.invalid),
            unexpected=tuple(sorted(asking.unexpected)),
            discovery_seconds=asked - began,
            request_seconds=self._clock.seconds() - asked,
        )

    def _document(self, job: Job, agent: str, body: str, wanted: Filter) -> Request:
        return Request(
            message=body,
            request_id=new_request_id(),
            sender_id=self._identity,
            caller_id=self._caller_id,
            collective=job.collective,
            agent=agent,
            ttl=TTL,
            time=int(self._now()),
            filter=wanted,
        )

    def _reply_to(self, request: Request) -> str:
        return subjects.reply(request.collective, self._caller_id, request.request_id)

    def _sealed(self, request: Request) -> bytes:
        return v1.encode_transport(
            v1.seal_request(request, self._signer),
            sender=self._identity,
            reply_to=self._reply_to(request),
        )


class _Waiting:
    """Something that is over when it says so, or when its time is up."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._done: Deferred[None] = Deferred()

    async def _wait(self, until: Callable[[], float]) -> None:
        clock = self._operator._clock
        while not self._done.called:
            left = until() - clock.seconds()
            if left <= 0:
                return
            timer = clock.callLater(left, self._wake)
            try:
                await self._done
            except CancelledError:
                if timer.active():
                    timer.cancel()
                raise
            if timer.active():
                timer.cancel()
            if self._over():
                return
            self._done = Deferred()

    def _wake(self) -> None:
        if not self._done.called:
            self._done.callback(None)

    def _over(self) -> bool:
        return False


class _Search(_Waiting):
    """A discovery under way; it listens until it is closed, for late answers."""

    def __init__(self, operator: Operator, job: Job) -> None:
        super().__init__(operator)
        self.discovery = Discovery(job.rule, operator._clock.seconds())
        self._job = job
        self._request = operator._document(job, "discovery", DISCOVERY_BODY, job.filter)
        self._subscription = operator._client.subscribe(
            operator._reply_to(self._request), self._answer
        )

    async def run(self) -> None:
        operator = self._operator
        operator._client.publish(
            subjects.broadcast(self._job.collective, "discovery"), operator._sealed(self._request)
        )
        await self._wait(self.discovery.ends)
        self.discovery.end()

    def close(self) -> None:
        self._subscription.unsubscribe()

    def _answer(self, message: Message) -> None:
        try:
            transport = v1.decode_transport(message.payload)
        except DecodeError:
            self.discovery.refused += 1
            return
        self.discovery.answered(transport.sender, self._operator._clock.seconds())
        self._wake()

    def _over(self) -> bool:
        return self.discovery.complete


class _Asking(_Waiting):
    """A request under way."""

    def __init__(
        self,
        operator: Operator,
        job: Job,
        found: Mapping[str, int],
        progress: Progress,
        request: Request,
    ) -> None:
        super().__init__(operator)
        self.answers: list[Answer] = []
        self.invalid: Counter[str] = Counter()
        self.unexpected: set[str] = set()
        self._job = job
        self._left = Counter(found)
        self._count = self._left.total()
        self._progress = progress
        self._request = request
        self._sent = 0.0

    async def run(self, seconds: float) -> None:
        operator, request = self._operator, self._request
        subscription = operator._client.subscribe(operator._reply_to(request), self._answer)
        try:
            self._sent = operator._clock.seconds()
            document = operator._sealed(request)
            for identity in sorted(self._left):
                operator._client.publish(subjects.node(self._job.collective, identity), document)
            await self._wait(lambda: self._sent + seconds)
        finally:
            subscription.unsubscribe()

    def _answer(self, message: Message) -> None:
        try:
            _, reply = v1.open_reply(message.payload)
            if reply.request_id != self._request.request_id:
                raise DecodeError("other_request", "reply", "it answers another request")
            body = rpc.decode_reply(reply.message)
        except DecodeError as error:
            self.invalid[error.reason] += 1
            return
        sender = reply.sender_id
        if not self._left[sender]:
            if len(self.unexpected) < self._count + 100:
                self.unexpected.add(sender)
            return
        self._left[sender] -= 1
        body = attrs.evolve(body, action=body.action or self._job.action)
        self.answers.append(Answer(sender, body, self._operator._clock.seconds() - self._sent))
        self._progress.answered(len(self.answers), self._count)
        if self._over():
            self._wake()

    def _over(self) -> bool:
        return len(self.answers) >= self._count
