"""Agents of an application's own: declared once, checked, documented, answered."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.ddl import Aggregate, Input, InputType, Output
from backplane.choria.rpc import ActionError, StatusCode
from backplane.client.run import Job
from backplane.errors import StateError
from backplane.interfaces import blocking
from backplane.node.agent import ActionRequest, Agent, Metadata, action
from backplane.node.dispatch import DENIED
from backplane.security.roles import Role
from backplane.testing import Harness


def _input(name: str, kind: InputType, *choices: Any) -> Input:
    return Input(
        name=name, prompt=name, description=name, type=kind, optional=True, choices=choices
    )


class Orders(Agent):
    """The agent of the example in the documentation, and some more actions."""

    metadata = Metadata(
        name="orders",
        description="Orders",
        version="1.0.0",
        author="Shop <shop@example.net>",
        timeout=5,
    )

    def __init__(self) -> None:
        self.requests: list[ActionRequest] = []
        self.started: list[str] = []

    def startService(self) -> None:
        super().startService()
        self.started.append("start")

    def stopService(self) -> None:
        super().stopService()
        self.started.append("stop")

    @action(
        "Puts a failed order back into the queue",
        inputs=[
            Input(name="order", prompt="Order", description="Number", type="integer"),
            Input(
                name="queue",
                prompt="Queue",
                description="Its name",
                type="string",
                optional=True,
                default="main",
                validation="^[a-z]+$",
                maxlength=8,
            ),
        ],
        outputs=[Output(name="place", description="Place in it", display_as="Place")],
        display="always",
        aggregate=[Aggregate(function="average", args=("place",))],
    )
    def requeue(self, request: ActionRequest) -> dict[str, Any]:
        self.requests.append(request)
        return {"place": request.data["order"] + 1, "queue": request.data["queue"]}

    @action("Counts orders", name="count", role="read_only")
    async def count_them(self, request: ActionRequest) -> dict[str, Any]:
        return {"count": 3}

    @action(
        "Every type of input",
        role="read_only",
        inputs=[
            _input("text", "string"),
            _input("flag", "boolean"),
            _input("whole", "integer"),
            _input("fraction", "float"),
            _input("number", "number"),
            _input("hash", "Hash"),
            _input("array", "Array"),
            _input("one", "list", "a", "b"),
        ],
    )
    def types(self, request: ActionRequest) -> dict[str, Any]:
        return dict(request.data)

    @action("Looks, although only full callers may", changes=False)
    def peek(self, request: ActionRequest) -> dict[str, Any]:
        return {}

    @action("Fails")
    def broken(self, request: ActionRequest) -> dict[str, Any]:
        raise RuntimeError("amqp://app:hunter2@mq.example.net is away")

    @action("Has its own status")
    def missing(self, request: ActionRequest) -> dict[str, Any]:
        raise ActionError("which order?", StatusCode.MISSING_DATA)

    @action("Returns nothing")
    def nothing(self, request: ActionRequest) -> None:
        return None

    @action("Never returns")
    def hang(self, request: ActionRequest) -> Deferred[Any]:
        return Deferred()

    @action("Blocks")
    @blocking
    def blocks(self, request: ActionRequest) -> dict[str, Any]:
        return {"thread": True}


class OwnAgentTests(SynchronousTestCase):
    """An agent of an application's own, asked over the network."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.orders = Orders()
        self.harness.manage(self.orders, auth={"insecure": True})

    def ask(self, name: str, data: dict[str, Any] | None = None, **how: Any) -> Any:
        return self.harness.ask(name, data, agent="orders", **how)

    def test_action(self) -> None:
        """Inputs with their defaults and the caller reach the action; its outputs come back."""
        reply = self.ask("requeue", {"order": 41}, caller="alice.choria")
        self.assertEqual((reply.status, reply.data), (0, {"place": 42, "queue": "main"}))
        (request,) = self.orders.requests
        self.assertEqual(
            (request.caller_id, request.sender_id, request.agent, request.action),
            ("choria=alice.choria", "client.example.net", "orders", "requeue"),
        )
        self.assertEqual((request.collective, request.ttl), ("app_backplane", 60))
        self.assertEqual(len(request.request_id), 32)

    def test_other_name(self) -> None:
        """An action may be called differently from its method; coroutines are fine."""
        self.assertEqual(self.ask("count").data, {"count": 3})
        self.assertEqual(self.ask("count_them").status, 2)

    def test_blocking(self) -> None:
        """A marked method runs in a thread and answers all the same."""
        self.assertEqual(self.ask("blocks").data, {"thread": True})

    def test_unknown_action(self) -> None:
        """Status 2 and the text of Choria."""
        reply = self.ask("steal")
        self.assertEqual(
            (reply.status, reply.message), (2, "Unknown action steal for agent orders")
        )

    def test_wrong_inputs(self) -> None:
        """Missing, unknown and invalid inputs have status 4 and name the input; nothing runs."""
        for data, text in (
            ({}, "input 'order' is required"),
            ({"order": "41"}, "input 'order': is not an integer"),
            ({"order": True}, "input 'order': is not an integer"),
            ({"order": 1, "queue": "Main"}, "input 'queue': does not match ^[a-z]+$"),
            ({"order": 1, "queue": "a" * 9}, "is longer than 8 characters"),
            ({"order": 1, "force": True}, "'force' that is not declared in the DDL"),
        ):
            reply = self.ask("requeue", data)
            self.assertEqual(reply.status, StatusCode.INVALID_DATA, data)
            self.assertIn(text, reply.message)
        self.assertEqual(self.orders.requests, [])
        reply = self.ask("count", {"x": 1})
        self.assertEqual(reply.status, StatusCode.INVALID_DATA)

    def test_ruby_extra(self) -> None:
        """What Ruby clients always add is no input."""
        self.assertEqual(self.ask("requeue", {"order": 1, "process_results": True}).status, 0)

    def test_types(self) -> None:
        """Each type takes its own values."""
        good = {
            "text": "x",
            "flag": False,
            "whole": 3,
            "fraction": 1.5,
            "number": 2,
            "hash": {"a": 1},
            "array": [1],
            "one": "b",
        }
        self.assertEqual(self.ask("types", good).data, good)
        for name, value in (
            ("text", 1),
            ("flag", "true"),
            ("flag", 1),
            ("whole", 1.0),
            ("fraction", "1.5"),
            ("number", None),
            ("hash", []),
            ("array", {}),
            ("one", "c"),
        ):
            reply = self.ask("types", {name: value})
            self.assertEqual(reply.status, StatusCode.INVALID_DATA, (name, value))
            self.assertIn(repr(name), reply.message)

    def test_failures(self) -> None:
        """An exception is status 5 with its type and no secret; others have their status."""
        reply = self.ask("broken")
        self.assertEqual(
            (reply.status, reply.message),
            (5, "broken failed: RuntimeError: amqp://********@mq.example.net is away"),
        )
        self.assertNotIn("hunter2", str(reply))
        reply = self.ask("missing")
        self.assertEqual((reply.status, reply.message), (3, "which order?"))
        reply = self.ask("nothing")
        self.assertEqual(reply.status, 5)
        self.assertIn("nothing failed: TypeError", reply.message)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError, TypeError)), 2)

    def test_deadline(self) -> None:
        """The agent's own timeout counts, less a second."""
        reply = self.ask("hang")
        self.assertEqual((reply.status, reply.message), (5, "hang has not returned after 4 s"))

    def test_found_by_others(self) -> None:
        """It is in the inventory and can be filtered on."""
        inventory = self.harness.ask("agent_inventory", agent="rpcutil").data["agents"]
        (entry,) = [agent for agent in inventory if agent["agent"] == "orders"]
        self.assertEqual((entry["version"], entry["timeout"]), ("1.0.0", 5))
        self.assertEqual(self.harness.request("ping", select=['"orders" in agents']).count, 1)

    def test_service(self) -> None:
        """It starts and stops with the management."""
        self.assertEqual(self.orders.started, ["start"])
        self.harness.close()
        self.assertEqual(self.orders.started, ["start", "stop"])


class StubbornTests(SynchronousTestCase):
    """An action that neither returns nor lets itself be cancelled."""

    def test_stop(self) -> None:
        """It holds up the stop of the service for no longer than configured."""

        class Stubborn(Agent):
            metadata = Metadata(
                name="stubborn", description="S", version="1.0.0", author="S", timeout=600
            )

            @action("Hangs")
            async def hang(self, request: ActionRequest) -> Any:
                while True:
                    try:
                        await Deferred()
                    except CancelledError:
                        continue

        harness = Harness()
        self.addCleanup(harness.close)
        management = harness.manage(Stubborn(), stop_timeout=3)
        job = Job(service="app", collective="app_backplane", agent="stubborn", action="hang")
        asked = harness.operator().request(job)
        harness.advance(3)
        self.assertNoResult(asked)
        began = harness.clock.seconds()
        harness.result_of(management.stopService())
        self.assertLess(harness.clock.seconds() - began, 4)
        (answer,) = harness.result_of(asked).answers
        self.assertEqual(answer.reply.status, 5)
        self.assertIn("cancelled because the service stops", answer.reply.message)
        harness.clock.advance(1000)


class OwnRoleTests(SynchronousTestCase):
    """Roles of own actions are those declared, ``full`` by default."""

    def test_roles(self) -> None:
        harness = Harness()
        self.addCleanup(harness.close)
        harness.manage(Orders(), auth={"full": ["sre.choria"], "read_only": ["1stline.choria"]})
        for name, caller, allowed in (
            ("count", "1stline.choria", True),
            ("peek", "1stline.choria", False),
            ("peek", "sre.choria", True),
            ("count", "nobody.choria", False),
        ):
            reply = harness.ask(name, agent="orders", caller=caller)
            self.assertEqual(reply.ok, allowed, (name, caller))
            if not allowed:
                self.assertEqual((reply.status, reply.message), (1, DENIED))


class DeclarationTests(SynchronousTestCase):
    """What the declarations are made into."""

    def test_actions(self) -> None:
        """Role and whether it changes something; a full action does unless it says otherwise."""
        actions = Orders().actions()
        self.assertEqual(
            {name: (each.role, each.changes) for name, each in actions.items()},
            {
                "requeue": (Role.FULL, True),
                "count": (Role.READ_ONLY, False),
                "types": (Role.READ_ONLY, False),
                "peek": (Role.FULL, False),
                "broken": (Role.FULL, True),
                "missing": (Role.FULL, True),
                "nothing": (Role.FULL, True),
                "hang": (Role.FULL, True),
                "blocks": (Role.FULL, True),
            },
        )

    def test_mistakes(self) -> None:
        """What cannot be declared is refused where it stands."""
        self.assertRaises(TypeError, action, lambda self, request: {})
        error = self.assertRaises(ValueError, action, "x", role="readonly")
        self.assertIn("read_only, full", str(error))

        def run(self: Agent, request: ActionRequest) -> dict[str, Any]:
            return {}

        mark = action("x", name="run")
        error = self.assertRaises(TypeError, type, "NoMetadata", (Agent,), {"run": mark(run)})
        self.assertIn("NoMetadata has actions and no metadata", str(error))
        names = {"metadata": Orders.metadata, "run": mark(run), "again": mark(run)}
        error = self.assertRaises(ValueError, type, "Twice", (Agent,), names)
        self.assertIn("Twice has two actions named run", str(error))

    def test_ddl(self) -> None:
        """The DDL for clients has the declarations, sorted, and nothing that is not there."""
        document = json.loads(Orders().ddl().to_json())
        self.assertEqual(document, json.loads(Orders.full_ddl().to_json()))
        self.assertEqual(document["metadata"]["name"], "orders")
        names = [each["action"] for each in document["actions"]]
        self.assertEqual(names, sorted(names))
        (requeue,) = [each for each in document["actions"] if each["action"] == "requeue"]
        self.assertEqual(
            requeue,
            {
                "action": "requeue",
                "description": "Puts a failed order back into the queue",
                "display": "always",
                "input": {
                    "order": {
                        "prompt": "Order",
                        "description": "Number",
                        "type": "integer",
                        "optional": False,
                    },
                    "queue": {
                        "prompt": "Queue",
                        "description": "Its name",
                        "type": "string",
                        "optional": True,
                        "default": "main",
                        "validation": "^[a-z]+$",
                        "maxlength": 8,
                    },
                },
                "output": {"place": {"description": "Place in it", "display_as": "Place"}},
                "aggregate": [{"function": "average", "args": ["place"]}],
            },
        )

    def test_provides(self) -> None:
        """An action may be left out of an instance; then its DDL does not have it either."""

        class Some(Orders):
            def provides(self, action: str) -> bool:
                return action == "count"

        self.assertEqual(list(Some().actions()), ["count"])
        document = json.loads(Some().ddl().to_json())
        self.assertEqual([each["action"] for each in document["actions"]], ["count"])

    def test_no_second_of_a_name(self) -> None:
        """Two agents of one name, or one of a built-in's, are refused before anything starts."""
        harness = Harness()
        self.addCleanup(harness.close)
        management = harness.make()
        management.provide(Orders())
        self.assertRaises(StateError, management.provide, Orders())

        class Discovery(Agent):
            metadata = Metadata(name="discovery", description="D", version="1.0.0", author="D")

        management.provide(Discovery())
        error = self.assertRaises(ValueError, management.startService)
        self.assertIn("discovery is taken", str(error))
