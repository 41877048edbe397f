"""What a caller is told: the order of the checks, forms of results, errors without secrets."""

from __future__ import annotations

import json

from twisted.python.failure import Failure

from backplane.node.dispatch import DENIED
from backplane.security.roles import Role
from tests.node.dispatching import DispatchCase


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

    def test_what_is_no_mapping(self) -> None:
        """A result that is none is a failure that says so, pairs and texts too."""
        for result in (None, [], ["ab"], "", 7):
            waiting = self.start("later")
            self.shop.waiting[-1].callback(result)
            reply = self.reply(waiting)
            self.assertEqual(reply.status, 5)
            self.assertIn("an action returns a mapping, not ", reply.message)
        self.assertIdle()

    def test_inputs_of_any_kind(self) -> None:
        """Inputs that are no object are an error where they are checked, else there are none."""
        for data in ([], ["x"], "text", 7, True):
            body = json.dumps({"agent": "unchecked", "action": "inputs", "data": data}).encode()
            reply = self.ask("", agent="unchecked", body=body)
            self.assertEqual((reply.status, reply.data), (0, {"inputs": {}}))
            body = json.dumps({"agent": "shop", "action": "plain", "data": data}).encode()
            self.assertEqual(self.ask("", body=body).status, 4)

    def test_plain_agent(self) -> None:
        """Agents that are no RPC agents see the body as it is and may stay silent."""
        self.assertEqual(self.successResultOf(self.start("", agent="silent", body=b"x")), "x")
        self.assertIsNone(self.successResultOf(self.start("", agent="silent", body=b"")))


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
            "cannot connect with Driver=x;Server=db;Pwd=hunter2;Encrypt=no",
            "404 for url: https://api.example.net/v1?page=2&api_key=hunter2",
            "Server=db,password=hunter2,user=app",
            "authorization=Basic hunter2",
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
            "404 for url: https://api.example.net/v1?page=2&sort=name",
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
