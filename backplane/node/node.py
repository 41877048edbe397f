"""One running node: its parts put together, started and closed in order."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from backplane._version import __version__
from backplane.config.settings import ServiceConfig
from backplane.config.strict import STRICT_TTL
from backplane.nats.client import Connected, NatsClient, ServerError
from backplane.nats.errors import BadSubject, PayloadTooLarge
from backplane.nats.jetstream import JetStream
from backplane.nats.servers import Server, parse_servers
from backplane.node.admission import MAX_TTL, Admission
from backplane.node.agent import Agent
from backplane.node.auditing import Auditor
from backplane.node.authorization import Authorization
from backplane.node.backplane import CALL_DEADLINE, BackplaneAgent, Provided
from backplane.node.calling import MethodCalls
from backplane.node.choria_util import ChoriaUtilAgent
from backplane.node.dispatch import Dispatcher
from backplane.node.events import ChangeEvents
from backplane.node.facts import FactSnapshots
from backplane.node.invoking import CallMode, ThreadRunner, run_in_thread
from backplane.node.outbox import Outbox
from backplane.node.presence import ManagementState, Presence
from backplane.node.processor import Processor
from backplane.node.registration import Registration
from backplane.node.remembering import Remembering
from backplane.node.renewal import Renewal, Sources
from backplane.node.rpcutil import RpcutilAgent
from backplane.node.spool import Spool
from backplane.node.standard import DiscoveryAgent, NodeDetails
from backplane.node.storing import DiskStore
from backplane.node.ticking import Ticker
from backplane.node.worker import OneThread
from backplane.security.audit import AuditLog
from backplane.security.names import caller_id_for
from backplane.security.replay import ReplayMemory
from backplane.security.roles import Role, Roles
from backplane.stacks import thread_dump
from backplane.stalls import stalls_of

__all__ = ["Node", "NodeParts"]

MAX_CLASSES: Final = 10_000

REPLIES: Final = 16 * 1024 * 1024
"""Bytes of replies that may wait for a socket; a burst of requests is answered at once."""


@attrs.frozen(kw_only=True)
class NodeParts:
    """What a node is made of.

    :ivar provided: what the application provides, by field of
        :class:`~backplane.node.backplane.Provided`, and how it is called.
    :ivar logger: makes a logger for a namespace.
    :ivar changed: called with each new state.
    :ivar sources: whom it believes, as whom it speaks, and what it lets them do.
    :ivar audit: open, or ``None``.
    :ivar remembering: what earlier processes acted upon, where that is kept.
    :ivar spool: the outbox's file, open, where it has one.
    """

    config: ServiceConfig
    provided: Mapping[str, tuple[object, CallMode]]
    agents: Sequence[Agent]
    data_publisher: bool
    reactor: Any
    now: Callable[[], float]
    endpoint: Callable[[Server], IStreamClientEndpoint] | None
    threads: ThreadRunner | None
    rng: random.Random
    logger: Callable[[str], Logger]
    changed: Callable[[ManagementState], None]
    sources: Sources
    audit: AuditLog | None = None
    remembering: Remembering | None = None
    spool: Spool | None = None


class Node:
    """A node, from its start to its end; it is not started again."""

    def __init__(self, parts: NodeParts) -> None:
        config, clock = parts.config, parts.reactor
        self._config = config
        self._clock: IReactorTime = clock
        self._log = parts.logger("backplane.node")
        trust = parts.sources.trust
        threads = parts.threads if parts.threads is not None else run_in_thread(parts.reactor)
        self._calls = {
            name: MethodCalls(provided, clock, threads, mode)
            for name, (provided, mode) in parts.provided.items()
        }
        provided = Provided(**self._calls)
        self.client = NatsClient(
            config.brokers,
            parts.reactor,
            name=config.identity,
            credentials=parts.sources.login.value,
            endpoint=parts.endpoint,
            log=parts.logger("backplane.nats"),
            rng=parts.rng,
            ping_interval=config.ping_interval,
            stop_timeout=config.stop_timeout,
            buffer_size=REPLIES,
            version=__version__,
            tls=(lambda server: trust.value.security(server)) if config.secure else None,
            tls_first=config.tls is not None and config.tls.handshake_first,
        )
        self._classes: list[str] = []
        started = parts.now()
        self.agents: dict[str, Agent] = {}
        self.facts = FactSnapshots(
            self._calls.get("info_source"),
            lambda: {**provided.own_facts(), "backplane_actions": self._actions},
            parts.logger("backplane.facts"),
            secrets=config.facts.secrets,
            exempt=config.facts.exempt,
            deadline=CALL_DEADLINE,
        )
        self._authorization = Authorization(
            Roles.compile(
                insecure=config.auth.insecure,
                full=config.auth.full,
                read_only=config.auth.read_only,
            ),
            lambda: parts.sources.policies.value,
            facts=lambda: self.facts.usable(Role.FULL),
            classes=lambda: self._classes,
        )
        kept = parts.remembering
        self.admission = Admission(
            identity=config.identity,
            collectives=(config.collective,),
            agents=lambda: tuple(self.agents),
            facts=self.facts.usable,
            classes=lambda: self._classes,
            verifier=parts.sources,
            role_of=self._authorization.role_of,
            replay=ReplayMemory() if kept is None else kept.memory,
            # A memory that goes back far enough knows what came before the start.
            started=0.0 if kept is not None and kept.complete else started,
            is_change=lambda agent, body: self._dispatcher.is_change(agent, body),
            reply_to_extras=config.reply_to,
            max_ttl=STRICT_TTL if config.strict else MAX_TTL,
            hidden=config.auth.hidden,
        )
        details = NodeDetails(
            identity=config.identity,
            collectives=(config.collective,),
            agents=self.agents,
            classes=lambda: self._classes,
            facts=self.facts,
            counters=self.admission.counters,
            config=_public_settings(config),
            servers=[server.url for server in parse_servers(config.brokers)],
            connection=self.client,
            started=started,
            secure=config.secure,
            tls=config.secure,
        )
        auditor = Auditor(parts.audit, parts.now, config.secure, config.identity)
        backplane = self.backplane = BackplaneAgent(
            provided,
            self.facts,
            clock,
            lambda: thread_dump(parts.reactor),
            lambda: stalls_of(parts.reactor),
            parts.logger("backplane.agent"),
            max_stop_delay=config.max_stop_delay,
            rng=parts.rng,
            secure=config.secure,
            service=config.name,
            now=parts.now,
            auditor=auditor,
            remembering=parts.remembering,
            lease=config.loglevel_lease,
        )
        backplane.may = self._may
        backplane.book.load()
        self._events = ChangeEvents(
            self.client,
            service=config.name,
            identity=config.identity,
            change=backplane.book.ledger.change,
            log=parts.logger("backplane.events"),
        )
        backplane.book.history.on_change = self._events.changed
        for agent in (
            DiscoveryAgent(),
            backplane,
            RpcutilAgent(details),
            ChoriaUtilAgent(details),
            *parts.agents,
        ):
            name = agent.metadata.name
            if name in self.agents:
                raise ValueError(f"the agent name {name} is taken")
            self.agents[name] = agent
        self._actions = ",".join(sorted(backplane.actions()))
        self._dispatcher = Dispatcher(
            self.agents,
            clock,
            threads,
            parts.logger("backplane.dispatch"),
            self._authorization,
            auditor,
            backplane.book.history.note,
            parts.now,
        )
        self._processor = Processor(
            identity=config.identity,
            admission=self.admission,
            dispatcher=self._dispatcher,
            counters=self.admission.counters,
            connection=self.client,
            clock=clock,
            now=parts.now,
            log=parts.logger("backplane.admission"),
        )
        self.presence = Presence(
            self.client,
            identity=config.identity,
            collectives=(config.collective,),
            agents=lambda: tuple(self.agents),
            received=self._processor.received,
            version=__version__,
            clock=clock,
            now=parts.now,
            log=parts.logger("backplane.presence"),
            rng=parts.rng,
            published=self._count_event,
            changed=parts.changed,
        )
        self.outbox: Outbox | None = None
        self._worker = OneThread(parts.reactor, "backplane-outbox")
        if parts.data_publisher:
            log = parts.logger("backplane.outbox")
            self.outbox = Outbox(
                Registration(
                    identity=config.identity,
                    caller_id=caller_id_for(trust.value.certname or config.identity),
                    collective=config.collective,
                    signer=lambda: trust.value.signer,
                    now=parts.now,
                ).seal,
                self.client,
                JetStream(self.client),
                parts.reactor,
                permanent=(BadSubject, PayloadTooLarge),
                log=log,
                max_items=config.outbox.max_items,
                max_bytes=config.outbox.max_bytes,
                full=config.outbox.full,
                store=None
                if parts.spool is None
                else DiskStore(parts.spool, parts.threads or self._worker, clock, log),
            )
        self._renewal = Renewal(
            parts.sources,
            self.client.move,
            clock=clock,
            threads=threads,
            now=parts.now,
            log=parts.logger("backplane.renewal"),
        )
        self._refresher = Ticker(
            clock,
            config.facts.interval,
            self._refresh,
            lambda failure: self._log.failure("facts could not be refreshed", failure),
        )

    def start(self) -> None:
        """Ask for facts, subscribe, begin to connect."""
        self._refresher.start()
        self._events.start()
        self.backplane.book.start()
        self.presence.start()
        self._renewal.start()
        if self.outbox is not None:
            self.outbox.start()
            self.client.add_listener(self._pump)
        self.client.startService()

    async def refuse_and_finish(self) -> None:
        """Refuse new work, and wait until what is under way has ended or is overdue."""
        self.presence.stopping()
        self._processor.refuse()
        self._renewal.stop()
        self._refresher.stop()
        idle = self._dispatcher.when_idle()
        late = self._clock.callLater(self._config.stop_timeout, self._dispatcher.cancel)
        try:
            await idle
        except CancelledError:
            self._dispatcher.cancel()
            raise
        finally:
            self.backplane.book.stop()
            if late.active():
                late.cancel()

    async def close(self) -> None:
        """Say goodbye, flush, and close the connection; when cancelled, without waiting."""
        stored: Deferred[None] = succeed(None)
        try:
            self.presence.goodbye()
            await self._drain()
            await self.client.stopService()
        finally:
            if self.outbox is not None:
                stored = self.outbox.close().addBoth(lambda _: self._worker.end())
                self.client.remove_listener(self._pump)
            for calls in self._calls.values():
                calls.cancel()
            self.presence.stopped()
            self._events.stop()
        await stored

    async def _drain(self) -> None:
        if self.outbox is None:
            return
        drained = self.outbox.drain()
        if self.client.is_connected and not drained.called:
            late = self._clock.callLater(self._config.stop_timeout, self.outbox.close)
            try:
                await drained
            finally:
                if late.active():
                    late.cancel()

    def _refresh(self) -> Deferred[None]:
        path = self._config.classes_file
        if path is not None:
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    self._classes = file.read().split("\n")[:MAX_CLASSES]
            except OSError as error:
                self._classes = []
                self._log.warn("classes are not readable: {error}", error=error)
            self._classes = [line.strip() for line in self._classes if line.strip()]
        return self.facts.refresh()

    def _may(self, caller_id: str) -> list[str]:
        """Return the actions of the backplane agent that a caller may call."""
        role = self._authorization.role_of(caller_id)
        return sorted(
            name
            for name, each in self.backplane.actions().items()
            if self._authorization.decide("backplane", each, caller_id, role).allowed
        )

    def _count_event(self) -> None:
        self.admission.counters.events += 1

    def _pump(self, event: object) -> None:
        assert self.outbox is not None
        if isinstance(event, Connected):
            self.outbox.connected()
        elif isinstance(event, ServerError) and event.kind == "publish" and event.subject:
            self.outbox.forbidden(event.subject, event.text)


def _public_settings(config: ServiceConfig) -> dict[str, Any]:
    """Return what ``get_config_item`` may answer; nothing in it is a secret."""
    return {
        "identity": config.identity,
        "main_collective": config.collective,
        "collectives": [config.collective],
        "registration_collective": config.collective,
        "loglevel": config.loglevel,
        "logfile": config.logfile or "",
        "configfile": "",
        "classesfile": config.classes_file or "",
        "plugin.choria.use_srv": False,
    }
