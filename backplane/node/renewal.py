"""New certificates, authorities, revocation lists and policies without a restart.

Files are looked at every few seconds, and read in a thread when they have changed.
Good ones are in use from then on, and the connection to the broker moves over to
one that was made with them. What cannot be used is said, and the old stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from backplane.config.settings import ServiceConfig
from backplane.nats.credentials import Credentials
from backplane.node.invoking import ThreadRunner
from backplane.node.login import watch_login
from backplane.node.ticking import Ticker
from backplane.node.trust import Trust, watch_policies, watch_trust
from backplane.security.policy import Policy
from backplane.security.watch import Watched

__all__ = ["INTERVAL", "Renewal", "Sources"]

INTERVAL: Final = 2.0
"""Seconds between two looks; a change counts once two of them have seen the same."""

REMINDER: Final = 24 * 3600.0
"""Seconds after which what is overdue is said again."""


@attrs.define(eq=False)
class Sources:
    """The files that a node's trust is made of; they are read at once.

    They outlive a start: who starts a program may read what it may not later.

    :raises ConfigError: with the mistakes in them.
    :ivar report: told why changed files are not used; replaceable.
    """

    config: ServiceConfig
    report: Callable[[str], None]
    trust: Watched[Trust] = attrs.field(init=False)
    policies: Watched[Mapping[str, Policy]] = attrs.field(init=False)
    login: Watched[Credentials | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.policies = watch_policies(self.config, self._report)
        self.trust = watch_trust(self.config, self._report, self._report)
        self.login = watch_login(self.config, self._report)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is lawful and hardly meant."""
        policies = self.policies.value.values()
        said = [str(problem) for each in policies for problem in each.warnings]
        return (*said, *self.trust.value.warnings)

    def verify(self, message: str, signature: str, pubcert: str, caller_id: str, now: float) -> str:
        """See :meth:`backplane.security.signing.Verifier.verify`; with what is good by now."""
        verifier = self.trust.value.verifier
        return verifier.verify(message, signature, pubcert, caller_id, now)

    def _report(self, text: str) -> None:
        self.report(text)


class Renewal:
    """Looks at files, from start to stop.

    :param moved: called when connections to brokers are to be made anew, with the reason.
    :param now: wall-clock time.
    """

    def __init__(
        self,
        sources: Sources,
        moved: Callable[[str], None],
        *,
        clock: IReactorTime,
        threads: ThreadRunner,
        now: Callable[[], float],
        log: Logger,
    ) -> None:
        self._sources = sources
        self._moved = moved
        self._threads = threads
        self._now = now
        self._log = log
        self._said: dict[str, float] = {}
        self._ticker = Ticker(
            clock,
            INTERVAL,
            self._look,
            lambda failure: log.failure("files could not be looked at", failure),
        )

    def start(self) -> None:
        """Look from now on."""
        self._ticker.start()

    def stop(self) -> None:
        """Look no more."""
        self._ticker.stop()

    async def _check(self, watched: Watched[Any]) -> bool:
        return watched.changed() and bool(await self._threads(watched.renew))

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look_once())

    async def _look_once(self) -> None:
        sources = self._sources
        before = sources.trust.value.keys
        if await self._check(sources.trust):
            keys = sources.trust.value.keys
            assert before is not None
            assert keys is not None
            if keys.same_for_brokers(before):
                self._log.info("revocation lists were renewed, or a key file was written anew")
            else:
                self._log.info("certificates were renewed")
                if self._ticker.running:
                    self._moved("certificates were renewed")
            self._warn()
        if await self._check(sources.login):
            self._log.info("the credentials for brokers were renewed")
            if self._ticker.running:
                self._moved("credentials were renewed")
        if await self._check(sources.policies):
            self._log.info("the action policy was renewed")
            self._warn()
        self._remind()

    def _warn(self) -> None:
        for text in self._sources.warnings:
            self._log.warn("{text}", text=text)

    def _remind(self) -> None:
        keys = self._sources.trust.value.keys
        if keys is None:
            return
        now = self._now()
        for text in keys.overdue(now):
            if now - self._said.get(text, float("-inf")) >= REMINDER:
                self._said[text] = now
                self._log.warn("{text}", text=text)
        if len(self._said) > 1000:  # dates of many renewals
            self._said.clear()
