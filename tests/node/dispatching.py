"""A dispatcher that is tried by itself, with agents for every kind of action."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import rpc
from backplane.choria.message import Request
from backplane.choria.rpc import ActionError, StatusCode
from backplane.interfaces import blocking
from backplane.node.agent import ActionRequest, Agent, Metadata, PlainAgent, action
from backplane.node.auditing import Auditor
from backplane.node.authorization import Authorization
from backplane.node.dispatch import Dispatcher
from backplane.security.roles import Role, Roles
from tests.node.messages import Lines


class Shop(Agent):
    """An application's agent; slow actions return when told."""

    metadata = Metadata(name="shop", description="Shop", version="1.0.0", author="Shop", timeout=12)

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.asked: list[ActionRequest] = []
        self.stubborn = False
        self.cancelled: list[Deferred[Any]] = []

    def slowly(self, request: ActionRequest) -> Deferred[Any]:
        self.asked.append(request)
        self.waiting.append(Deferred(self.cancelled.append))
        return self.waiting[-1]

    @action("Plain", role="read_only")
    def plain(self, request: ActionRequest) -> dict[str, Any]:
        self.asked.append(request)
        return {"form": "plain"}

    @action("Deferred", role="read_only")
    def later(self, request: ActionRequest) -> Deferred[Any]:
        return self.slowly(request)

    @action("Coroutine", role="read_only")
    async def coroutine(self, request: ActionRequest) -> Any:
        return await self.slowly(request)

    @action("Refuses to be cancelled", role="read_only")
    async def stubbornly(self, request: ActionRequest) -> Any:
        try:
            return await self.slowly(request)
        except CancelledError:
            return await self.slowly(request)

    @action("Blocks", role="read_only")
    @blocking
    def threaded(self, request: ActionRequest) -> dict[str, Any]:
        return {"form": "thread"}

    @action("A change")
    def sell(self, request: ActionRequest) -> Deferred[Any]:
        return self.slowly(request)

    @action("Another change")
    def refund(self, request: ActionRequest) -> dict[str, Any]:
        return {"refunded": True}

    @action("A change that blocks")
    @blocking
    def restock(self, request: ActionRequest) -> dict[str, Any]:
        return {"form": "thread"}

    @action("Fails as it wants")
    def choose(self, request: ActionRequest) -> None:
        raise ActionError("no such order", StatusCode.INVALID_DATA, {"order": 7})

    @action("Returns what cannot be told", role="read_only")
    def odd(self, request: ActionRequest) -> object:
        return {"value": object()}


class Unchecked(Agent):
    """Takes no inputs, as the actions of Go's agents."""

    checks_inputs = False
    metadata = Metadata(name="unchecked", description="U", version="1.0.0", author="U")

    @action("Says what it got", role="read_only")
    def inputs(self, request: ActionRequest) -> dict[str, Any]:
        return {"inputs": dict(request.data)}


class Silent(PlainAgent):
    """Says what it is told, or nothing."""

    metadata = Metadata(name="silent", description="S", version="1.0.0", author="S")

    def answer(self, body: bytes) -> str | None:
        return body.decode() or None


class DispatchCase(SynchronousTestCase):
    """One dispatcher on a clock, with threads that run when told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.shop = Shop()
        self.threads: list[tuple[Callable[[], object], Deferred[Any]]] = []
        self.log = Lines()
        self.dispatcher = Dispatcher(
            {"shop": self.shop, "silent": Silent(), "unchecked": Unchecked()},
            self.clock,
            self.in_thread,
            self.log.logger(),
            Authorization(Roles.compile(), dict, dict, list),
            Auditor(None, self.clock.seconds, secure=False),
        )

    def in_thread(self, function: Callable[[], object]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append((function, done))
        return done

    def run_threads(self) -> None:
        threads, self.threads = self.threads, []
        for function, done in threads:
            done.callback(function())

    def start(
        self,
        name: str,
        *,
        body: bytes | None = None,
        agent: str = "shop",
        caller: str = "choria=sre.choria",
        role: Role | None = Role.FULL,
        data: Any = None,
    ) -> Deferred[str | None]:
        if body is None:
            body = json.dumps(
                {"agent": agent, "action": name, "data": {} if data is None else data}
            ).encode()
        request = Request(
            message=body.decode("utf-8", "replace"),
            request_id="0" * 32,
            sender_id="client1.example.net",
            caller_id=caller,
            collective="app_backplane",
            agent=agent,
            ttl=60,
            time=1,
        )
        return self.dispatcher.dispatch(request, body, role)

    def reply(self, waiting: Deferred[str | None]) -> rpc.RpcReply:
        text = self.successResultOf(waiting)
        assert text is not None
        return rpc.decode_reply(text)

    def ask(self, name: str, **how: Any) -> rpc.RpcReply:
        return self.reply(self.start(name, **how))

    def assertIdle(self) -> None:
        """Nothing is under way and nothing is left on the clock."""
        self.assertEqual(self.dispatcher.running, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.dispatcher.when_idle())
