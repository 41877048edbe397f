"""An application's management under trial: no sockets, no waiting, nothing left behind.

::

    class ShopTests(SynchronousTestCase):
        def setUp(self):
            self.shop = Shop()
            self.harness = Harness(self.shop, name="shop", secure=True)
            self.addCleanup(self.harness.close)

        def test_pause(self):
            self.assertEqual(self.harness.as_full().pause().data, {"paused": True})
            self.assertFalse(self.shop.working)

        def test_read_only(self):
            denied = self.harness.as_read_only().pause()
            self.assertEqual(denied.verdict, "denied: read_only")

Everything runs on a :class:`twisted.internet.task.Clock`, against a broker in
memory that speaks the real NATS protocol, with the real messages of Choria; in the
secure mode they are signed and verified, and the broker speaks TLS. Methods that
block are called at once instead of in a thread.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred

from backplane.choria import v1
from backplane.choria.filter import build_filter
from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Outcome
from backplane.client.discovery import DiscoveryRule
from backplane.client.run import Job, Operator
from backplane.config.settings import ServiceConfig
from backplane.nats.servers import Server
from backplane.nats.validators import subject_matches
from backplane.security.roles import Role, Roles
from backplane.service import Management
from backplane.testing.broker import FakeBroker
from backplane.testing.callers import Caller
from backplane.testing.managed import FULL, READ_ONLY, STRANGER, Managed, audited, configure
from backplane.testing.network import MemoryEndpoint
from backplane.testing.operators import Operators
from backplane.testing.pki import PKI, Issued
from backplane.testing.securing import Securing
from backplane.testing.timeline import Timeline

__all__ = ["Harness"]

START: Final = 1_700_000_000.0
"""Unix time at which a harness begins."""

BROKER: Final = ("broker.example.net", 4222)


class Harness(Timeline):
    """A clock, a broker in memory, managements, and callers.

    Without ``auth`` among the settings, ``sre.choria`` may do everything, ``1stline.choria``
    may look, and nobody else may do anything.

    :param provided: managed at once, as by :meth:`manage`; likewise ``name`` and ``settings``.
    :param secure: TLS, and requests signed with certificates of :attr:`pki`; without it
        callers are who they say.
    :param start: Unix time at which it begins.
    :ivar clock: goes on only by :meth:`advance` and while something is asked.
    :ivar network: the :class:`~backplane.testing.network.MemoryNetwork`, for faults.
    :ivar broker: the :class:`~backplane.testing.broker.FakeBroker`.
    """

    def __init__(
        self,
        *provided: object,
        secure: bool = False,
        name: str = "app",
        start: float = START,
        seed: int = 1,
        **settings: Any,
    ) -> None:
        if settings and not provided:
            raise TypeError(f"{', '.join(settings)}: of a management, and nothing is to be managed")
        super().__init__(start)
        self._securing: Securing | None = None
        if secure:
            self._securing = Securing(self.folder / "pki", self.clock.seconds)
            self.broker = FakeBroker(tls=self._securing.broker(BROKER[0]), clock=self.clock)
        else:
            self.broker = FakeBroker()
        self.network.listen(*BROKER, self.broker)
        self._rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._made = 0
        self._managements: list[Management] = []
        self._operators = Operators(
            f"{BROKER[0]}:{BROKER[1]}", self.clock, self.endpoint, self._rng, self._securing
        )
        if provided:
            try:
                self.manage(*provided, name=name, **settings)
            except BaseException:
                self.close()  # whoever calls has nothing that he could close
                raise

    @cached_property
    def folder(self) -> Path:
        """Where its files are; removed when the harness is no more."""
        made = tempfile.mkdtemp(prefix="backplane-harness-")
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return Path(made)

    @property
    def pki(self) -> PKI:
        """The authority of the secure mode, for certificates that are not as they should be.

        :raises AssertionError: in the insecure mode.
        """
        if self._securing is None:
            raise AssertionError("there are certificates with Harness(secure=True) only")
        return self._securing.pki

    @property
    def management(self) -> Management:
        """The first management; :raises AssertionError: when there is none."""
        if not self._managements:
            raise AssertionError("nothing is managed: Harness(app), or harness.manage(app)")
        return self._managements[0]

    def manage(self, *provided: object, name: str = "app", **settings: Any) -> Management:
        """Start a management of what is provided, and wait until it is ready.

        :param provided: as for :meth:`backplane.service.Management.provide`.
        :param settings: keys of the ``management`` section, and ``policy``, the text of an
            action policy.
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
        return Managed(
            self.config(name, **settings),
            reactor=self.clock,
            now=self.clock.seconds,
            endpoint=self.endpoint,
            threads=_at_once,
            rng=self._rng,
            **(options or {}),
        )

    def config(self, name: str, *, policy: str | None = None, **settings: Any) -> ServiceConfig:
        """Return a configuration for the broker of this harness."""
        identity = settings.get("identity", f"{name}1.example.net")
        self._made += 1  # two of one identity must not write one file
        fields: dict[str, Any] = {
            "name": name,
            "identity": identity,
            "brokers": [f"{BROKER[0]}:{BROKER[1]}"],
            **settings,
        }
        if self._securing is not None:
            fields["tls"] = {**self._securing.service(identity), **settings.get("tls", {})}
        return configure(self.folder / f"{self._made}", fields, policy)

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

    def as_full(self) -> Caller:
        """Return a caller who may do everything."""
        return self._as(FULL, Role.FULL)

    def as_read_only(self) -> Caller:
        """Return a caller who may only look."""
        return self._as(READ_ONLY, Role.READ_ONLY)

    def as_stranger(self) -> Caller:
        """Return a caller whom the service knows nothing of."""
        return self._as(STRANGER, None)

    def as_caller(self, name: str, certificate: Issued | None = None) -> Caller:
        """Return any caller.

        :param name: a certname, or a caller id such as ``choria=rip.mcollective``.
        :param certificate: what he signs with, such as
            ``harness.pki.defective_client("expired", name)``; by default a good one in
            his name. In the secure mode only.
        """
        if certificate is not None:
            assert self.pki
        return Caller(self, name.removeprefix("choria="), certificate)

    def _as(self, name: str, role: Role | None) -> Caller:
        auth = self.management.config.auth
        roles = Roles.compile(insecure=auth.insecure, full=auth.full, read_only=auth.read_only)
        found = roles.role_of(f"choria={name}")
        if found is not role:
            wanted, has = (each.name.lower() if each else "no role" for each in (role, found))
            raise AssertionError(
                f"{name} has {has} by the auth of {self.management.config.name}, not {wanted}: "
                "leave auth out, or use as_caller()"
            )
        return self.as_caller(name)

    def request(
        self,
        action: str,
        data: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        agent: str = "backplane",
        caller: str = FULL,
        certificate: Issued | None = None,
        facts: Sequence[str] = (),
        classes: Sequence[str] = (),
        identities: Sequence[str] = (),
        select: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Outcome:
        """Ask every service that matches, as an operator does.

        :param name: the application's; that of the first management by default.
        :param caller: the operator's certname.
        :param certificate: as for :meth:`as_caller`.
        """
        if name is None:
            name = self._managements[0].config.name if self._managements else "app"
        operator = self.operator(caller, certificate)
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

    def operator(self, caller: str = FULL, certificate: Issued | None = None) -> Operator:
        """Return a connected operator with this certname."""
        client, operator = self._operators.get(caller, certificate)
        self.result_of(client.when_connected())
        return operator

    def audited(self) -> list[dict[str, Any]]:
        """Return the lines of the audit logs, those of the first management first."""
        return [line for each in self._managements for line in audited(each)]

    def drops(self) -> Mapping[str, int]:
        """Return how many requests services have dropped without a word, by reason."""
        dropped = [each.dropped for each in self._managements if isinstance(each, Managed)]
        return sum(dropped, Counter())

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
        for client in self._operators.clients:
            self.result_of(client.stopService())
        self._managements.clear()
        self._operators.forget()
        self.broker.drop_all()
        self.network.flush()
        if hung:
            raise hung[0]
        left = [call for call in self.clock.getDelayedCalls() if call.active()]
        if left:
            raise AssertionError(f"left on the clock: {left}")


def _at_once(function: Callable[[], object]) -> Deferred[Any]:
    return maybeDeferred(function)
