"""Being there: subscriptions, readiness, lifecycle events, and namesakes.

*Ready* means connected, all subscriptions sent and answered by a PONG, none
refused by permissions. Readiness is lost with the connection and regained
with the next.
"""

from __future__ import annotations

import enum
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from backplane.choria import subjects
from backplane.choria.events import lifecycle_event
from backplane.errors import StateError
from backplane.logs import printable
from backplane.nats.client import (
    Connected,
    ConnectFailed,
    Disconnected,
    Message,
    Moved,
    NatsClient,
    ServerError,
)
from backplane.nats.errors import NatsError

__all__ = ["ManagementState", "Phase", "Presence"]

COMPONENT: Final = "backplane"

ALIVE_INTERVAL: Final = 30 * 60
"""Seconds between alive events; the first comes after a random part of it."""

MAX_NAMESAKES: Final = 16
"""Namesakes that are remembered, so that strangers cannot fill log and memory."""

_NONCE_LENGTH: Final = 32


class Phase(enum.Enum):
    """Where a management is in its life."""

    NEW = "new"
    CONNECTING = "connecting"
    READY = "ready"
    REFUSED = "refused"
    STOPPING = "stopping"
    STOPPED = "stopped"


@attrs.frozen
class ManagementState:
    """The state of a management, which can be asked at any time.

    :ivar phase: see :class:`Phase`; ``REFUSED`` is connected, but the broker
        does not allow every subscription.
    :ivar since: Unix time at which the phase began.
    :ivar broker: URL of the connected broker without credentials, or ``None``.
    :ivar last_error: why it is not ready, or was not; ``None`` if it always was.
    """

    phase: Phase
    since: float
    broker: str | None = None
    last_error: str | None = None

    @property
    def ready(self) -> bool:
        """Whether operators can reach it."""
        return self.phase is Phase.READY


class Presence:
    """One node's presence on its collective.

    :param received: takes the messages of the node's subscriptions.
    :param version: for lifecycle events.
    :param changed: called with each new state.
    """

    def __init__(
        self,
        client: NatsClient,
        *,
        identity: str,
        collectives: Sequence[str],
        agents: Callable[[], Sequence[str]],
        received: Callable[[Message], None],
        version: str,
        clock: IReactorTime,
        now: Callable[[], float],
        log: Logger,
        rng: random.Random,
        published: Callable[[], None],
        changed: Callable[[ManagementState], None],
    ) -> None:
        self._client = client
        self._identity = identity
        self._collectives = tuple(collectives)
        self._agents = agents
        self._received = received
        self._version = version
        self._clock = clock
        self._now = now
        self._log = log
        self._rng = rng
        self._published = published
        self._changed = changed
        self._subjects: set[str] = set()
        self._refused: dict[str, str] = {}
        self._announced = False
        self._alive: IDelayedCall | None = None
        self._waiters: list[Deferred[None]] = []
        self._nonce = f"{rng.getrandbits(128):032x}"
        self._namesakes: set[bytes] = set()
        self.state = ManagementState(Phase.NEW, now())

    def start(self) -> None:
        """Subscribe; the client sends the subscriptions when it connects."""
        self._client.add_listener(self._event)
        for collective in self._collectives:
            for agent in self._agents():
                self._subscribe(subjects.broadcast(collective, agent))
            self._subscribe(subjects.node(collective, self._identity))
            self._client.subscribe(self._meeting(collective), self._met)
        self._enter(Phase.CONNECTING)

    def when_ready(self) -> Deferred[None]:
        """Return a Deferred that fires when the node is ready; fails when it stops."""
        if self.state.phase is Phase.READY:
            return succeed(None)
        if self.state.phase in (Phase.STOPPING, Phase.STOPPED):
            return fail(StateError("the management is stopped"))
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def stopping(self) -> None:
        """New work is refused from now on."""
        self._enter(Phase.STOPPING)
        if self._alive is not None and self._alive.active():
            self._alive.cancel()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:  # as by trial, when a test has timed out
                waiter.errback(StateError("the management was stopped before it was ready"))

    def goodbye(self) -> None:
        """Publish the shutdown event, if the startup event was published."""
        if self._announced:
            self._publish("shutdown")

    def stopped(self) -> None:
        """The connection is closed."""
        self._client.remove_listener(self._event)
        self._enter(Phase.STOPPED)

    def _subscribe(self, subject: str) -> None:
        self._subjects.add(subject)
        self._client.subscribe(subject, self._received)

    def _enter(self, phase: Phase, error: str | None = None) -> None:
        broker = self._client.connected_url
        last = error if error is not None else self.state.last_error
        same = (phase, broker, last) == (
            self.state.phase,
            self.state.broker,
            self.state.last_error,
        )
        if same:
            return
        since = self.state.since if phase is self.state.phase else self._now()
        self.state = ManagementState(phase, since, broker, last)
        self._changed(self.state)

    def _event(self, event: object) -> None:
        if self.state.phase in (Phase.STOPPING, Phase.STOPPED):
            return
        if isinstance(event, Connected):
            self._refused.clear()
            self._client.flush(None).addCallbacks(self._answered, lambda failure: None)
        elif isinstance(event, Moved):
            self._enter(self.state.phase)
            if self._refused:
                self._refused.clear()
                self._client.flush(None).addCallbacks(self._answered, lambda failure: None)
        elif isinstance(event, Disconnected):
            self._enter(Phase.CONNECTING, str(event.reason))
        elif isinstance(event, ConnectFailed):
            self._enter(self.state.phase, f"{event.server}: {event.reason}")
        elif (
            isinstance(event, ServerError)
            and event.kind == "subscribe"
            and event.subject in self._subjects
        ):
            assert event.subject is not None
            self._refused[event.subject] = event.text
            self._log.error(
                "the broker does not allow a subscription: {text}", text=printable(event.text)
            )
            self._enter(Phase.REFUSED, event.text)

    def _answered(self, result: object) -> None:
        if self._refused or self.state.phase in (Phase.STOPPING, Phase.STOPPED):
            return
        if not self._announced:
            self._announced = True
            self._publish("startup")
            first = self._rng.randrange(ALIVE_INTERVAL // 60) * 60
            self._alive = self._clock.callLater(first + 60, self._still_alive)
        for collective in self._collectives:
            self._publish_raw(self._meeting(collective), self._nonce.encode())
        self._enter(Phase.READY)
        self._log.info(
            "ready: {identity} in {collectives}",
            identity=self._identity,
            collectives=", ".join(self._collectives),
        )
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)

    def _still_alive(self) -> None:
        self._alive = self._clock.callLater(ALIVE_INTERVAL, self._still_alive)
        if self._client.is_connected:
            self._publish("alive")

    def _publish(self, kind: Literal["startup", "alive", "shutdown"]) -> None:
        subject, payload = lifecycle_event(
            kind,
            identity=self._identity,
            component=COMPONENT,
            version=self._version,
            now=self._now(),
        )
        if self._publish_raw(subject, payload):
            self._published()

    def _publish_raw(self, subject: str, payload: bytes) -> bool:
        try:
            self._client.publish(subject, payload)
        except NatsError as error:
            self._log.debug("{subject} not published: {reason}", subject=subject, reason=error)
            return False
        return True

    def _meeting(self, collective: str) -> str:
        """Return the subject where services of one identity meet.

        It lies below the reply subjects of this identity, where brokers that
        restrict services still let them publish and subscribe.
        """
        name = hashlib.md5(self._identity.encode(), usedforsecurity=False).hexdigest()
        return f"{collective}.reply.{name}.presence"

    def _met(self, message: Message) -> Any:
        nonce = message.payload
        if len(nonce) != _NONCE_LENGTH or nonce == self._nonce.encode():
            return
        if nonce in self._namesakes or len(self._namesakes) >= MAX_NAMESAKES:
            return
        self._namesakes.add(nonce)
        self._log.warn(
            "another service of this collective has the identity {identity} too: both answer "
            "whatever is asked of it; make identities unique with `identity` or `instance`",
            identity=self._identity,
        )
        # So that a namesake that was here first hears of us, too.
        self._publish_raw(message.subject, self._nonce.encode())
