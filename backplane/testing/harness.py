"""An application's management under trial: no sockets, no waiting, nothing left behind.

::

    class ShopTests(SynchronousTestCase):
        def setUp(self):
            self.shop = Shop()
            self.harness = Harness()
            self.addCleanup(self.harness.close)
            self.harness.manage(self.shop, name="shop")

        def test_pause(self):
            self.assertEqual(self.harness.ask("pause").data, {"paused": True})
            self.assertFalse(self.shop.working)

Everything runs on a :class:`twisted.internet.task.Clock`, against a broker in
memory that speaks the real NATS protocol, with the real messages of Choria.
Methods that block are called at once instead of in a thread.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from backplane.choria import v1
from backplane.choria.filter import build_filter
from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Outcome
from backplane.client.discovery import DiscoveryRule
from backplane.client.run import Job, Operator
from backplane.config.service import parse
from backplane.config.settings import ServiceConfig
from backplane.nats.client import NatsClient
from backplane.nats.servers import Server
from backplane.nats.validators import subject_matches
from backplane.service import Management
from backplane.testing.broker import FakeBroker
from backplane.testing.network import MemoryEndpoint, MemoryNetwork

__all__ = ["Harness"]

START: Final = 1_700_000_000.0
"""Unix time at which a harness begins."""

BROKER: Final = ("broker.example.net", 4222)

STEP: Final = 0.05
"""Seconds that the clock goes on at once."""

_T = TypeVar("_T")


class Harness:
    """A clock, a broker in memory, managements, and operators.

    :ivar clock: goes on only by :meth:`advance` and while something is asked.
    :ivar broker: the :class:`~backplane.testing.broker.FakeBroker`.
    :ivar network: the :class:`~backplane.testing.network.MemoryNetwork`, for faults.
    """

    def __init__(self, *, start: float = START, seed: int = 1) -> None:
        self.clock = Clock()
        self.clock.rightNow = start
        self.network = MemoryNetwork(self.clock)
        self.broker = FakeBroker()
        self.network.listen(*BROKER, self.broker)
        self._rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._managements: list[Management] = []
        self._operators: dict[str, tuple[NatsClient, Operator]] = {}

    def manage(self, *provided: object, name: str = "app", **settings: Any) -> Management:
        """Start a management of what is provided, and wait until it is ready.

        :param provided: as for :meth:`backplane.service.Management.provide`.
        :param settings: keys of the ``management`` section; everybody may do everything
            unless there is ``auth``.
        """
        management = self.make(name=name, **settings)
        for item in provided:
            management.provide(item)
        self.start(management)
        return management

    def make(self, *, name: str = "app", options: Any = None, **settings: Any) -> Management:
        """Return a management that is not started, for a factory to fill.

        :param options: further arguments of :class:`~backplane.service.Management`.
        """
        return Management(
            self.config(name, **settings),
            reactor=self.clock,
            now=self.clock.seconds,
            endpoint=self.endpoint,
            threads=_at_once,
            rng=self._rng,
            **(options or {}),
        )

    def config(self, name: str, **settings: Any) -> ServiceConfig:
        """Return a configuration for the broker of this harness."""
        fields = {
            "name": name,
            "identity": f"{name}1.example.net",
            "brokers": [f"{BROKER[0]}:{BROKER[1]}"],
            "auth": {"insecure": True},
            **settings,
        }
        return parse(fields, env={}, hostname="host.example.net", pid=1)

    def endpoint(self, server: Server) -> MemoryEndpoint:
        """Return the way to a server of this network."""
        return self.network.endpoint(server.host, server.port)

    def start(self, management: Management) -> None:
        """Start a management, wait until it is ready, and past its first second."""
        self._managements.append(management)
        management.startService()
        self.result_of(management.when_ready())
        # Changes of the second of the start would be held back until it is over.
        self.advance(1.5)

    def advance(self, seconds: float) -> None:
        """Let time go by, in small steps."""
        end = self.clock.seconds() + seconds
        self.network.flush()
        while self.clock.seconds() < end:
            self.clock.advance(min(STEP, end - self.clock.seconds()))
            self.network.flush()

    def result_of(self, waiting: Deferred[_T], patience: float = 60.0) -> _T:
        """Let time go by until a Deferred fires; return its result or raise its error.

        :raises AssertionError: when it has not after ``patience`` seconds.
        """
        ended: list[Any] = []
        waiting.addCallbacks(ended.append, lambda failure: ended.append(failure))
        end = self.clock.seconds() + patience
        self.network.flush()
        while not ended:
            if self.clock.seconds() >= end:
                raise AssertionError(f"nothing came of it within {patience:g} s: {waiting}")
            self.advance(STEP)
        raising: Callable[[], None] | None = getattr(ended[0], "raiseException", None)
        if raising is not None:
            raising()
        result: _T = ended[0]
        return result

    def request(
        self,
        action: str,
        data: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        agent: str = "backplane",
        caller: str = "sre.choria",
        facts: Sequence[str] = (),
        classes: Sequence[str] = (),
        identities: Sequence[str] = (),
        select: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Outcome:
        """Ask every service that matches, as an operator does.

        :param name: the application's; that of the first management by default.
        :param caller: the operator's certname.
        """
        if name is None:
            name = self._managements[0].config.name if self._managements else "app"
        operator = self.operator(caller)
        job = Job(
            service=name,
            collective=f"{name}_backplane",
            agent=agent,
            action=action,
            data=data or {},
            filter=build_filter(facts=facts, classes=classes, identities=identities, select=select),
            rule=DiscoveryRule(),
            timeout=timeout,
        )
        return self.result_of(operator.request(job))

    def ask(self, action: str, data: Mapping[str, Any] | None = None, **how: Any) -> RpcReply:
        """Ask the one service that matches; arguments as :meth:`request`.

        :returns: its reply, with ``status``, ``message`` and ``data``.
        :raises AssertionError: when not exactly one service answers.
        """
        outcome = self.request(action, data, **how)
        if len(outcome.answers) != 1:
            raise AssertionError(
                f"{action}: {outcome.count} services found, {len(outcome.answers)} answered"
            )
        return outcome.answers[0].reply

    def operator(self, caller: str = "sre.choria") -> Operator:
        """Return a connected operator with this certname."""
        if caller not in self._operators:
            client = NatsClient(
                [f"{BROKER[0]}:{BROKER[1]}"],
                self.clock,
                name=caller,
                endpoint=self.endpoint,
                rng=self._rng,
            )
            client.startService()
            operator = Operator(
                client,
                self.clock,
                caller_id=f"choria={caller}",
                identity="client.example.net",
                now=self.clock.seconds,
            )
            self._operators[caller] = client, operator
            self.result_of(client.when_connected())
        return self._operators[caller][1]

    def published(self, subject: str) -> list[str]:
        """Return the data published so far to a subject, which may have wildcards."""
        self.network.flush()
        found = []
        for to, payload in self.broker.published:
            if subject_matches(subject, to):
                transport = v1.decode_transport(payload)
                secure = v1.decode_secure_request(transport.data)
                found.append(v1.decode_request(secure.message).message)
        return found

    def close(self) -> None:
        """Stop everything.

        :raises AssertionError: when something does not stop, or is left on the clock.
        """
        hung: list[AssertionError] = []
        for management in self._managements:
            stopping = maybeDeferred(management.stopService)
            try:
                self.result_of(stopping)
            except AssertionError as error:
                # The rest is stopped all the same: the next test may use these names.
                hung.append(error)
                stopping.cancel()
        for client, _ in self._operators.values():
            self.result_of(client.stopService())
        self._managements.clear()
        self._operators.clear()
        self.broker.drop_all()
        self.network.flush()
        if hung:
            raise hung[0]
        left = [call for call in self.clock.getDelayedCalls() if call.active()]
        if left:
            raise AssertionError(f"left on the clock: {left}")


def _at_once(function: Callable[[], object]) -> Deferred[Any]:
    return maybeDeferred(function)
