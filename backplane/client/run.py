"""An operator on the network: discover services, ask each of them, count the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from backplane.choria import subjects, v1
from backplane.choria.filter import Filter
from backplane.choria.message import Request, new_request_id
from backplane.client.accounting import Answer, Outcome
from backplane.client.asking import Run
from backplane.client.courses import Course
from backplane.client.jobs import Job
from backplane.nats.client import NatsClient
from backplane.nats.errors import NotConnected
from backplane.security.signing import InsecureSigner

__all__ = ["Job", "Operator", "Progress"]

TTL: Final = 60
"""Seconds that a request is good for."""


class Progress:
    """Told how a run goes on; override what is of interest."""

    def found(self, count: int) -> None:
        """So many services have been discovered so far."""

    def discovered(self, count: int) -> None:
        """Discovery has ended."""

    def replied(self, answer: Answer) -> None:
        """A service has answered."""

    def answered(self, done: int, count: int) -> None:
        """So many have answered, of ``count`` that are awaited."""


class Operator:
    """Somebody who manages services.

    :param client: a started :class:`~backplane.nats.client.NatsClient`.
    :param caller_id: such as ``choria=sre.choria``.
    :param identity: of this host.
    :param now: wall-clock time.
    :param signer: signs the requests; nobody does by default, for the insecure mode.
    """

    def __init__(
        self,
        client: NatsClient,
        clock: IReactorTime,
        *,
        caller_id: str,
        identity: str,
        now: Callable[[], float],
        signer: v1.Signer | None = None,
    ) -> None:
        self.client = client
        self.clock = clock
        self.caller_id = caller_id
        self._identity = identity
        self.now = now
        self._signer = signer if signer is not None else InsecureSigner()

    def begin(
        self,
        job: Job,
        progress: Progress | None = None,
        *,
        started: float | None = None,
        course: Course | None = None,
        known: Mapping[str, int] | None = None,
    ) -> Run:
        """Begin a run, which can be interrupted; ``run.result`` is its Deferred.

        :param started: the clock's time from which the job's ``timeout`` counts, now by default.
        :param course: who is asked when; everybody at once by default.
        :param known: whom to ask, with how many services have each identity, in place of
            discovery.
        """
        shown = progress if progress is not None else Progress()
        begun = self.clock.seconds() if started is None else started
        return Run(self, job, shown, begun, course=course, known=known)

    def request(self, job: Job, progress: Progress | None = None) -> Deferred[Outcome]:
        """Discover, ask, and collect the answers.

        :returns: what became of it, also when nobody answered or the broker was lost.
            Cancelling it stops the run.
        """
        return self.begin(job, progress).result

    def discover(self, job: Job) -> Deferred[Mapping[str, int]]:
        """Find the services that ``job`` means.

        :returns: identities, with how many services have each; fails with
            :class:`~backplane.nats.errors.NotConnected` when the broker is lost.
        """
        return Deferred.fromCoroutine(self._discover(job))

    async def _discover(self, job: Job) -> Mapping[str, int]:
        run = Run(self, job, Progress(), self.clock.seconds(), only_discover=True)
        outcome = await run.result
        if outcome.stop is not None:
            raise NotConnected(outcome.reason)
        return outcome.discovered

    def document(
        self, job: Job, agent: str, body: str, wanted: Filter, request_id: str | None = None
    ) -> Request:
        """Return a new request of this operator.

        :param request_id: of one that it goes on with.
        """
        return Request(
            message=body,
            request_id=new_request_id() if request_id is None else request_id,
            sender_id=self._identity,
            caller_id=self.caller_id,
            collective=job.collective,
            agent=agent,
            ttl=TTL,
            time=int(self.now()),
            filter=wanted,
        )

    def reply_to(self, request: Request) -> str:
        """Return where the replies to a request are awaited."""
        return subjects.reply(request.collective, self.caller_id, request.request_id)

    def sealed(self, request: Request) -> bytes:
        """Return a request as it goes on the wire."""
        return v1.encode_transport(
            v1.seal_request(request, self._signer),
            sender=self._identity,
            reply_to=self.reply_to(request),
        )
