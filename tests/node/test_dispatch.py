"""How actions are run: deadlines, one change at a time, and what a caller is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import rpc
from backplane.choria.message import Request
from backplane.choria.rpc import ActionError, StatusCode
from backplane.interfaces import blocking
from backplane.node import dispatch as module
from backplane.node.agent import ActionRequest, Agent, Metadata, PlainAgent, action
from backplane.node.dispatch import DENIED, Dispatcher
from backplane.security.roles import Role
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
            {"shop": self.shop, "silent": Silent()},
            self.clock,
            self.in_thread,
            self.log.logger(),
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


class ReplyTests(DispatchCase):
    """What comes back, and the order of the checks."""

    def test_forms(self) -> None:
        """Plain results, Deferreds and coroutines are all answers."""
        self.assertEqual(self.ask("plain").data, {"form": "plain"})
        for name in ("later", "coroutine"):
            waiting = self.start(name)
            self.assertNoResult(waiting)
            self.shop.waiting[-1].callback({"form": name})
            reply = self.reply(waiting)
            self.assertEqual(
                (reply.status, reply.message, reply.action, reply.data),
                (0, "OK", name, {"form": name}),
            )
        waiting = self.start("threaded")
        self.assertNoResult(waiting)
        self.run_threads()
        self.assertEqual(self.reply(waiting).data, {"form": "thread"})
        self.assertIdle()

    def test_bodies(self) -> None:
        """What is no request of an agent's is told so, with the texts of Choria."""
        for body, status, text in (
            (b"", 4, "Could not process request: could not parse incoming message as a "),
            (b"[]", 4, "Could not process request"),
            (b"\xff", 4, "Could not process request"),
            (b" null", 2, "Unknown action  for agent shop"),
            (b'{"agent":"shop","action":"steal"}', 2, "Unknown action steal for agent shop"),
            (b'{"agent":"other","action":"plain"}', 1, DENIED),
            (b'{"action":"plain"}', 1, DENIED),
        ):
            reply = self.ask("", body=body)
            self.assertEqual(reply.status, status, body)
            self.assertTrue(reply.message.startswith(text), reply.message)
            self.assertEqual(reply.data, {})
        self.assertEqual(self.shop.asked, [])

    def test_roles(self) -> None:
        """An action needs its role; a denial comes before the inputs are looked at."""
        for name, role, status in (
            ("plain", Role.READ_ONLY, 0),
            ("plain", None, 1),
            ("refund", Role.READ_ONLY, 1),
            ("refund", Role.FULL, 0),
            ("refund", None, 1),
        ):
            reply = self.ask(name, role=role)
            self.assertEqual(reply.status, status)
            if status:
                self.assertEqual(reply.message, DENIED)
        self.assertEqual(self.ask("refund", role=None, data={"bad": 1}).message, DENIED)
        self.assertEqual(len(self.log.events), 4)

    def test_unknown_before_denied(self) -> None:
        """A caller without a role learns no more than that there is no such action."""
        self.assertEqual(self.ask("steal", role=None).status, 2)

    def test_remote_names(self) -> None:
        """An action's name is shown without control characters and cut."""
        reply = self.ask("\x1b[2J" + "x" * 1000)
        self.assertEqual(reply.status, 2)
        self.assertTrue(reply.message.isprintable())
        self.assertLess(len(reply.message), 300)

    def test_own_status(self) -> None:
        """An action may choose status, text and data of its failure."""
        reply = self.ask("choose")
        self.assertEqual(
            (reply.status, reply.message, reply.data), (4, "no such order", {"order": 7})
        )

    def test_what_json_cannot_hold(self) -> None:
        """A result that cannot be told is a failure that names the action."""
        reply = self.ask("odd")
        self.assertEqual(reply.status, 5)
        self.assertIn("odd failed: TypeError", reply.message)
        self.assertIdle()

    def test_plain_agent(self) -> None:
        """Agents that are no RPC agents see the body as it is and may stay silent."""
        self.assertEqual(self.successResultOf(self.start("", agent="silent", body=b"x")), "x")
        self.assertIsNone(self.successResultOf(self.start("", agent="silent", body=b"")))


class DeadlineTests(DispatchCase):
    """No action keeps its caller waiting for ever, and none delays another."""

    def test_deadline(self) -> None:
        """A second before the agent's timeout the caller hears of it, by name and age."""
        for name in ("later", "coroutine", "sell"):
            waiting = self.start(name)
            self.clock.advance(10.99)
            self.assertNoResult(waiting)
            self.clock.advance(0.01)
            reply = self.reply(waiting)
            self.assertEqual(
                (reply.status, reply.message), (5, f"{name} has not returned after 11 s")
            )
            self.assertIdle()
        # All three were cancelled, and their Deferreds know it.
        self.assertEqual(len(self.shop.cancelled), 3)

    def test_hung_action_delays_nothing(self) -> None:
        """While some hang, others answer at once, the same one included."""
        hung = [self.start(name) for name in ("later", "threaded", "stubbornly", "sell")]
        self.assertEqual(self.ask("plain").status, 0)
        again = self.start("later")
        self.shop.waiting[-1].callback({})
        self.assertEqual(self.reply(again).status, 0)
        for waiting in hung:
            self.assertNoResult(waiting)
        self.clock.advance(11)
        for waiting in hung:
            self.assertEqual(self.reply(waiting).status, 5)

    def test_stubborn_action(self) -> None:
        """One that swallows its cancellation is answered for all the same."""
        waiting = self.start("stubbornly")
        self.clock.advance(11)
        self.assertEqual(self.reply(waiting).status, 5)
        self.assertIdle()
        self.shop.waiting[-1].callback({})
        self.assertEqual(self.log.events, [])

    def test_late_failure_is_logged(self) -> None:
        """What an action raises after its deadline is not lost."""
        self.start("stubbornly")
        self.clock.advance(11)
        self.shop.waiting[-1].errback(ZeroDivisionError())
        self.assertEqual(len(self.log.events), 1)
        self.assertTrue(self.log.events[0]["log_failure"].check(ZeroDivisionError))

    def test_thread_is_left(self) -> None:
        """A thread cannot be cancelled; its result is thrown away when it comes."""
        waiting = self.start("threaded")
        self.clock.advance(11)
        self.assertEqual(self.reply(waiting).status, 5)
        self.run_threads()
        self.assertIdle()

    def test_many(self) -> None:
        """More requests than can be under way together are refused with a text."""
        self.patch(module, "MAX_RUNNING", 3)
        for _ in range(3):
            self.start("later")
        reply = self.ask("plain")
        self.assertEqual((reply.status, reply.message), (5, "3 requests are under way already"))
        self.shop.waiting[0].callback({})
        self.assertEqual(self.ask("plain").status, 0)


class ChangeTests(DispatchCase):
    """State-changing actions run one at a time."""

    def test_second_change(self) -> None:
        """While one has not returned, the next is refused at once: which, by whom, since when."""
        first = self.start("sell", caller="choria=alice")
        self.clock.advance(3.2)
        reply = self.ask("refund")
        self.assertEqual(
            (reply.status, reply.message),
            (5, "sell, asked by choria=alice 3 s ago, has not returned"),
        )
        self.assertEqual(self.ask("sell").status, 5)
        self.assertEqual(self.ask("plain").status, 0)
        self.shop.waiting[0].callback({})
        self.assertEqual(self.reply(first).status, 0)
        self.assertEqual(self.ask("refund").status, 0)

    def test_after_a_failure(self) -> None:
        """A change that failed or was too late is no obstacle."""
        waiting = self.start("sell")
        self.shop.waiting[0].errback(ZeroDivisionError())
        self.assertEqual(self.reply(waiting).status, 5)
        self.start("sell")
        self.clock.advance(11)
        self.assertEqual(self.ask("refund").status, 0)

    def test_left_thread(self) -> None:
        """A change whose thread was left is under way until the thread ends."""
        waiting = self.start("restock", caller="choria=bob")
        self.clock.advance(11)
        self.assertEqual(self.reply(waiting).status, 5)
        self.clock.advance(1)
        self.assertEqual(
            self.ask("refund").message, "restock, asked by choria=bob 12 s ago, has not returned"
        )
        self.run_threads()
        self.assertEqual(self.ask("refund").status, 0)

    def test_is_change(self) -> None:
        """Which bodies ask for a change; anything else is none."""
        for body, change in (
            (b'{"agent":"shop","action":"sell"}', True),
            (b'{"agent":"shop","action":"plain"}', False),
            (b'{"agent":"shop","action":"steal"}', False),
            (b"rubbish", False),
        ):
            self.assertIs(self.dispatcher.is_change("shop", body), change)
        self.assertFalse(self.dispatcher.is_change("other", b'{"action":"sell"}'))


class StopTests(DispatchCase):
    """Stopping ends what is under way."""

    def test_when_idle(self) -> None:
        """It fires with the last action, after its reply was made."""
        order: list[str] = []
        waiting = self.start("later")
        waiting.addCallback(lambda reply: order.append("reply"))
        idle = self.dispatcher.when_idle()
        idle.addCallback(lambda nothing: order.append("idle"))
        self.shop.waiting[0].callback({})
        self.assertEqual(order, ["reply", "idle"])

    def test_cancel(self) -> None:
        """Whatever is under way is answered for, threads and stubborn ones included."""
        waiting = [self.start(name) for name in ("later", "restock", "threaded", "stubbornly")]
        idle = self.dispatcher.when_idle()
        self.assertNoResult(idle)
        self.dispatcher.cancel()
        self.successResultOf(idle)
        for each in waiting:
            reply = self.reply(each)
            self.assertEqual(reply.status, 5)
            self.assertIn("was cancelled because the service stops", reply.message)
        self.assertIdle()
        self.run_threads()
        self.clock.advance(60)
        self.assertEqual(self.flushLoggedErrors(), [])


class SecretsTests(DispatchCase):
    """Errors of the application are told without the secrets in their texts."""

    def failing(self, error: BaseException) -> str:
        waiting = self.start("later")
        self.shop.waiting[-1].errback(Failure(error))
        reply = self.reply(waiting)
        self.assertEqual((reply.status, reply.data), (5, {}))
        return reply.message

    def test_text(self) -> None:
        """The caller sees type and text, no traceback, and no more than a line of it."""
        self.assertEqual(
            self.failing(KeyError("no such\norder")),
            "later failed: KeyError: 'no such\\norder'",
        )
        self.assertEqual(self.failing(ValueError()), "later failed: ValueError")
        self.assertLess(len(self.failing(ValueError("x" * 10**6))), 400)

    def test_secrets(self) -> None:
        """Passwords in URLs and settings are masked."""
        for text in (
            "cannot reach postgres://app:hunter2@db.example.net/shop",
            "bad DSN: dbname=shop user=app password=hunter2 host=db",
            "login failed (password: hunter2)",
            "{'user': 'app', 'password': 'hunter2'}",
            'HTTP 401 for {"api_key":"hunter2"}',
            "Authorization: Bearer hunter2",
            "token = hunter2",
            "PASSWORD=hunter2;HOST=db",
        ):
            shown = self.failing(RuntimeError(text))
            self.assertNotIn("hunter2", shown)
            self.assertIn("********", shown)

    def test_ordinary_text_stays(self) -> None:
        """Times, paths, addresses and sentences are shown as they are."""
        for text in (
            "12:30:01 connect to db:5432 failed: timed out",
            "no such file: /etc/shop.yaml",
            "unexpected keyword argument 'tokens_left'",
            "C:\\shop\\x = 3",
        ):
            self.assertEqual(
                self.failing(RuntimeError(text)), f"later failed: RuntimeError: {text}"
            )

    def test_error_that_cannot_be_told(self) -> None:
        """An error whose text raises is told by its type."""

        class Broken(Exception):
            def __str__(self) -> str:
                raise ZeroDivisionError

        self.assertEqual(self.failing(Broken()), "later failed: Broken")
