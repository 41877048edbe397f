"""Which services are on a network, as far as an operator can find out.

Every service lives in a collective of its own, and only who knows its name can ask there.
Names come from the roster, from the operator, and from what is heard meanwhile: questions,
data and changes of services go over subjects that have the name in them. A service that
nobody knows and that says nothing is not found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from backplane.client.jobs import make_job
from backplane.client.run import Operator
from backplane.nats.client import Message, NatsClient

__all__ = ["Census", "Found"]

HEARD: Final = ("*.broadcast.agent.>", "*.reply.*.presence", "choria.backplane.event.*")
"""Requests and published data, services that begin, and changes in services."""

MAX_SERVICES: Final = 1000
"""Services that are looked for; a broker that everybody may write to can tell of any number."""

_SUBJECT: Final = re.compile(
    r"(?:([a-z0-9]{1,64})_backplane\.(?:broadcast|reply)\..+"
    r"|choria\.backplane\.event\.([a-z0-9]{1,64}))"
)


@attrs.frozen
class Found:
    """A service on the network.

    :ivar instances: identities, with how many instances have each.
    :ivar expected: identities that were seen there of late.
    """

    service: str
    instances: Mapping[str, int]
    expected: frozenset[str] = frozenset()

    @property
    def missing(self) -> tuple[str, ...]:
        """Who was seen of late and is silent."""
        return tuple(sorted(self.expected - self.instances.keys()))


class Census:
    """One look at a network.

    :param known: services to look for, with whom one expects there.
    :param listening: whether services that are not among them are looked for as well.
    :ivar deaf: subjects that the broker does not let the operator hear.
    """

    def __init__(
        self,
        client: NatsClient,
        operator: Operator,
        known: Mapping[str, Collection[str]],
        *,
        listening: bool,
        discovery_timeout: float,
    ) -> None:
        self._client = client
        self._operator = operator
        self._clock: IReactorTime = operator.clock
        self._known = {name: frozenset(names) for name, names in known.items()}
        self._listening = listening
        self._timeout = discovery_timeout
        self._looking: dict[str, Deferred[None]] = {}
        self._found: dict[str, Found] = {}
        self._waiting: Deferred[None] | None = None
        self._interrupted = False
        self._failed: Exception | None = None
        self.deaf: list[str] = []

    async def take(self, seconds: float) -> list[Found]:
        """Listen for so long, and until all who are known were asked; return who is there.

        Services of which nobody is there and nobody was expected are left out.

        :raises NatsError: when the broker is lost.
        """
        if self._listening:
            for subject in HEARD:
                self._listen(subject)
        for service in self._known:
            self._look(service)
        if self._listening:
            await self._sleep(seconds)
        while self._looking and not self._interrupted:
            await next(iter(self._looking.values()))
        if self._failed is not None:
            raise self._failed
        found = (each for each in self._found.values() if each.instances or each.expected)
        return sorted(found, key=lambda each: each.service)

    def interrupt(self) -> None:
        """End now, with what is known."""
        self._interrupted = True
        for looking in [*self._looking.values()]:
            looking.cancel()
        if self._waiting is not None:
            self._waiting.cancel()

    async def _sleep(self, seconds: float) -> None:
        self._waiting = Deferred()
        timer = self._clock.callLater(seconds, self._waiting.callback, None)
        try:
            await self._waiting
        except CancelledError:
            timer.cancel()
        self._waiting = None

    def _listen(self, subject: str) -> None:
        def refused(error: Exception) -> None:
            self.deaf.append(subject)

        self._client.subscribe(subject, self._heard, on_error=refused)

    def _heard(self, message: Message) -> None:
        match = _SUBJECT.fullmatch(message.subject)
        service = (match[1] or match[2]) if match is not None else None
        known = len(self._found) + len(self._looking)
        if service is not None and known < MAX_SERVICES and not self._interrupted:
            self._look(service)

    def _look(self, service: str) -> None:
        if service in self._found or service in self._looking:
            return
        expected = self._known.get(service, frozenset())
        job = make_job(service, "ping", roster=expected, discovery_timeout=self._timeout)

        async def look() -> None:
            try:
                instances = await self._operator.discover(job)
                self._found[service] = Found(service, instances, expected)
            except CancelledError:
                pass
            except Exception as error:
                self._failed = error
            finally:
                self._looking.pop(service, None)

        looking = Deferred.fromCoroutine(look())
        if not looking.called:
            self._looking[service] = looking
