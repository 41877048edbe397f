"""Management: everything that makes an application manageable, as one Service.

::

    management = Management(config, pausable=app, info_source=app)
    management.setServiceParent(parent)      # or startService() and stopService()
    yield management.when_ready()

Starting returns at once and never waits for a broker. Stopping goes in order:
refuse new work, let actions end, stop the application's service, publish the
shutdown event, flush what was published, close the connection, each within a
bound.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads, IStreamClientEndpoint
from twisted.logger import ILogObserver, Logger, globalLogPublisher
from twisted.python.failure import Failure

from backplane.config.given import config_from
from backplane.errors import StateError
from backplane.host import host_identity
from backplane.interfaces import DataItem
from backplane.logs import ManagementLog
from backplane.nats.servers import Server
from backplane.node.agent import Agent
from backplane.node.invoking import CallMode, ThreadRunner
from backplane.node.node import Node, NodeParts
from backplane.node.outbox import Outbox
from backplane.node.presence import ManagementState, Phase
from backplane.node.provided import Provision
from backplane.node.remembering import Remembering
from backplane.node.renewal import Sources
from backplane.node.spool import Spool
from backplane.node.statefile import StateFile
from backplane.node.trust import make_audit
from backplane.stalls import StallWatch

__all__ = ["Management"]

_here: set[tuple[str, str]] = set()
"""Collective and identity of the managements started in this process: the one
thing that they share, as two of one name would answer for each other."""


class Management(MultiService):
    """The management of one application.

    :param config: :class:`~backplane.config.settings.ServiceConfig`, a mapping of its
        fields, or any :class:`~backplane.interfaces.IConfigProvider`.
    :param info_source, pausable, health_check, stopable, log_level, breakers, drainable, loggers:
        what the application provides; see also :meth:`provide`.
    :param data_publisher: whether :meth:`publish` may be used.
    :param agents: agents of the application's own.
    :param calls: how methods of what is provided are called: on the ``reactor``, or,
        where they block, each in a ``thread``.
    :param reactor: the reactor to use; the global one by default, asked for at start.
    :param now: wall-clock time, Unix seconds.
    :param endpoint: makes the endpoint of a broker; TCP by default. For tests.
    :param threads: runs methods that block; each in a thread by default. For tests.
    :param rng: source of jitter and identifiers. For tests.
    :param sources: those of another management of this configuration, whose files
        may not be readable any more.
    :param log_to: gets the backplane's log where it has no file; Twisted's by default.
    :raises ConfigError: when the configuration has mistakes, with all of them.
    """

    def __init__(
        self,
        config: object,
        *,
        info_source: object = None,
        pausable: object = None,
        health_check: object = None,
        stopable: object = None,
        log_level: object = None,
        breakers: object = None,
        drainable: object = None,
        loggers: object = None,
        data_publisher: bool = True,
        agents: Sequence[Agent] = (),
        calls: CallMode = "reactor",
        reactor: Any = None,
        now: Callable[[], float] = time.time,
        endpoint: Callable[[Server], IStreamClientEndpoint] | None = None,
        threads: ThreadRunner | None = None,
        rng: random.Random | None = None,
        sources: Sources | None = None,
        log_to: ILogObserver = globalLogPublisher,
    ) -> None:
        super().__init__()
        self.config = config_from(config, host_identity, check_files=sources is None)
        self._log_sink = ManagementLog(self.config.loglevel, self.config.logfile, log_to)
        self._log: Logger = self._log_sink.logger("backplane.service")
        self._provision = Provision()
        if sources is None:
            sources = Sources(self.config, self._report)
        self.sources = sources
        self._audit = make_audit(self.config, lambda text: self._log.error("{text}", text=text))
        path = self.config.state_file
        self._state_file = None if path is None else StateFile(path, self._report)
        file = self.config.outbox.file
        self._spool = Spool(file) if file is not None and data_publisher else None
        self._data_publisher = data_publisher
        self._calls = calls
        self._reactor = reactor
        self._now = now
        self._endpoint = endpoint
        self._threads = threads
        self._rng = rng if rng is not None else random.SystemRandom()
        self._node: Node | None = None
        self._state = ManagementState(Phase.NEW, now())
        self._early: list[Deferred[None]] = []
        self._listeners: list[Callable[[ManagementState], None]] = []
        self._stopping: Deferred[None] | None = None
        self._stalls: StallWatch | None = None
        for name, given in (
            ("info_source", info_source),
            ("pausable", pausable),
            ("health", health_check),
            ("stopable", stopable),
            ("log_level", log_level),
            ("breakers", breakers),
            ("drainable", drainable),
            ("loggers", loggers),
        ):
            if given is not None:
                self._provision.add_as(name, given, calls)
        for agent in agents:
            self.provide(agent)

    @property
    def state(self) -> ManagementState:
        """Phase, since when, the broker and the last error."""
        return self._state

    @property
    def data_outbox(self) -> Outbox:
        """Where data to publish is put.

        :raises StateError: before the start, and without ``data_publisher``.
        """
        if not self._data_publisher:
            raise StateError("this management was made with data_publisher=False")
        if self._node is None:
            raise StateError("data can be published once the management is started")
        assert self._node.outbox is not None
        return self._node.outbox

    def publish(self, item: DataItem) -> Deferred[None]:
        """Publish data; fires when the broker has it.

        See :mod:`backplane.node.outbox` for what is promised.

        :returns: fails with :class:`StateError` when the management is not started.
        :raises ValueError: for data that is empty or not UTF-8, or a bad destination.
        """
        try:
            outbox = self.data_outbox
        except StateError as error:
            return fail(error)
        return outbox.publish(item)

    def provide(self, provided: object, calls: CallMode | None = None) -> None:
        """Take each interface that ``provided`` provides; before the start.

        An :class:`~backplane.node.agent.Agent` is added as one; an ``IService`` is
        started before the management is ready and stopped after it has refused new work.

        :param calls: as for the management.
        :raises StateError: after the start, or for an interface that was provided already.
        :raises TypeError: when there is nothing in it to be taken.
        """
        if self.running:
            raise StateError("what is managed must be provided before the start")
        self._provision.add(provided, calls if calls is not None else self._calls)

    def when_ready(self) -> Deferred[None]:
        """Fire when operators can reach the service.

        :returns: fails with :class:`StateError` when the management stops before.
        """
        if self._node is not None:
            return self._node.presence.when_ready()
        waiter: Deferred[None] = Deferred(self._early.remove)
        self._early.append(waiter)
        return waiter

    def on_change(self, listener: Callable[[ManagementState], None]) -> None:
        """Call ``listener`` with each new :attr:`state`, of readiness lost or regained."""
        if not callable(listener):
            raise TypeError(f"a listener is called, and {type(listener).__name__} cannot be")
        self._listeners.append(listener)

    def logger(self, namespace: str, *, output: bool = False) -> Logger:
        """Return a logger that writes where this management's log goes.

        :param namespace: below ``backplane``, for what belongs to the backplane.
        :param output: for what others print, which ``loglevel`` does not hold back.
        """
        make = self._log_sink.output if output else self._log_sink.logger
        return make(namespace)

    def privilegedStartService(self) -> None:
        """Start the privileged part of the application's service."""
        for application in self._provision.services:
            application.privilegedStartService()
        super().privilegedStartService()

    def startService(self) -> None:
        """Start; connecting goes on in the background.

        :raises StateError: when another management of this collective and identity
            is running in this process.
        :raises OSError: when the log file cannot be opened.
        :raises AuditError: when the audit log cannot be.
        :raises StateFileError: when the state file cannot be used.
        :raises SpoolError: when the file of the outbox cannot be.
        """
        if self._stopping is not None:
            raise StateError("the management is still stopping")
        if self._node is not None:
            raise StateError("the management is started already")
        name = (self.config.collective, self.config.identity)
        if name in _here:
            raise StateError(
                f"a management of {name[0]} with the identity {name[1]} is running in this "
                "process already; make identities unique with `identity` or `instance`"
            )
        reactor = self._reactor
        if reactor is None:
            from twisted.internet import reactor as default

            reactor = default
        self._log_sink.open()
        _here.add(name)
        started: list[Any] = []
        try:
            self.sources.report = self._report
            for text in self.sources.warnings:
                self._log.warn("{text}", text=text)
            if self._audit is not None:
                self._audit.open()
            if self._spool is not None:
                self._spool.open()
            self._node = self._make_node(reactor, self._remember())
            for agent in self._node.agents.values():
                agent.setServiceParent(self)
            for application in self._provision.services:
                application.startService()
                started.append(application)
            super().startService()
            self._node.start()
            self._watch(reactor)
        except BaseException:
            self._undo_start(started)
            raise
        early, self._early = self._early, []
        for waiter in early:
            self._node.presence.when_ready().addBoth(_settle, waiter)

    def _watch(self, reactor: Any) -> None:
        """Look out for calls that block the reactor, if that is wanted; a clock has no thread."""
        if self.config.stall_watch and IReactorFromThreads.providedBy(reactor):
            self._stalls = StallWatch(reactor, self.logger("backplane.stalls"))
            self._stalls.start()

    def _watch_no_more(self) -> None:
        watch, self._stalls = self._stalls, None
        if watch is not None:
            watch.stop()

    def _remember(self) -> Remembering | None:
        if self._state_file is None:
            return None
        records = self._state_file.open()
        return Remembering(self._state_file, records, self._now(), self._report)

    def _make_node(self, reactor: Any, remembering: Remembering | None) -> Node:
        return Node(
            NodeParts(
                config=self.config,
                provided=dict(self._provision.interfaces),
                agents=tuple(self._provision.agents),
                data_publisher=self._data_publisher,
                reactor=reactor,
                now=self._now,
                endpoint=self._endpoint,
                threads=self._threads,
                rng=self._rng,
                logger=self._log_sink.logger,
                changed=self._changed,
                sources=self.sources,
                audit=self._audit,
                remembering=remembering,
                spool=self._spool,
            )
        )

    def _undo_start(self, started: Sequence[Any]) -> None:
        """Stop what a start that failed has started, and be as before it."""
        mine = [*started, *self]
        for service in reversed([each for each in mine if each.running]):
            maybeDeferred(service.stopService).addErrback(self._stop_failed, "undoing the start")
        self._forget_node()

    def _forget_node(self) -> None:
        node, self._node = self._node, None
        self.running = 0
        self._watch_no_more()
        for agent in node.agents.values() if node is not None else ():
            if agent.parent is self:
                agent.disownServiceParent()
        _here.discard((self.config.collective, self.config.identity))
        if self._audit is not None:
            self._audit.close()
        if self._state_file is not None:
            self._state_file.close()
        if self._spool is not None:
            self._spool.close()
        self._log_sink.close()

    def abandon(self) -> None:
        """Let go of files in a forked child, whose parent goes on; nothing is sent."""
        self._watch_no_more()
        _here.discard((self.config.collective, self.config.identity))
        if self._audit is not None:
            self._audit.close()
        if self._state_file is not None:
            self._state_file.close()
        self._log_sink.close()

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when everything is closed."""
        if self._stopping is not None:
            waiting: Deferred[None] = Deferred()
            self._stopping.addBoth(lambda result: waiting.callback(None))
            return waiting
        if self._node is None:
            waiters, self._early = self._early, []
            for waiter in waiters:
                _settle(Failure(StateError("the management was never started")), waiter)
            self.running = 0
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        self._stopping = Deferred()
        return Deferred.fromCoroutine(self._stop(self._node))

    async def _stop(self, node: Node) -> None:
        try:
            await self._guard("letting actions end", node.refuse_and_finish)
            agents = list(node.agents.values())
            others = [service for service in self if service not in agents]
            for application in reversed([*self._provision.services, *others]):
                await self._guard("stopping the application", application.stopService)
            await self._guard("closing the connection", node.close)
            for agent in agents:
                await self._guard("stopping an agent", agent.stopService)
        finally:
            stopping, self._stopping = self._stopping, None
            self._forget_node()
            if stopping is not None:
                stopping.callback(None)

    async def _guard(
        self, what: str, step: Callable[[], Deferred[Any] | Awaitable[Any] | None]
    ) -> None:
        """Do one step of stopping; the next ones are done whatever comes of it."""
        await maybeDeferred(step).addErrback(self._stop_failed, what)

    def _stop_failed(self, failure: Failure, what: str) -> None:
        if failure.check(CancelledError):
            self._log.warn("{what} was cut short", what=what)
            return
        self._log.failure("{what} failed", failure, what=what)

    def _report(self, text: str) -> None:
        self._log.warn("{text}", text=text)

    def _changed(self, state: ManagementState) -> None:
        self._state = state
        for listener in list(self._listeners):
            try:
                listener(state)
            except Exception:
                self._log.failure("a listener failed")


def _settle(result: Any, waiter: Deferred[None]) -> None:
    # Whoever waits may have ended it, as trial does when a test has timed out.
    if not waiter.called:
        waiter.callback(result)
