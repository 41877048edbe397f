"""Breakers with names, work in flight and single loggers, on services that are processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor, task
from twisted.trial.unittest import TestCase

from backplane.client import Client
from backplane.client.accounting import Outcome
from tests.integration.fleet import PATIENCE, Fleet, Ran, Service, run_cli
from tests.integration.test_secure import BROKER, PKI

FULL: Final = "sre.choria"
READ_ONLY: Final = "1stline.choria"
IDENTITIES: Final = ("app1.example.net", "app2.example.net", "app3.example.net")

BOTH: Final = "app: doing work: payments, search\n"
SEARCH: Final = "app: doing work: search\n"


class BreakerCase(TestCase):
    """Three demo services, of which the first two are in one data centre; who manages them."""

    secure = False
    fields: dict[str, Any] = {}

    def setUp(self) -> None:
        self.fleet = Fleet(BROKER if self.secure else "")
        self.addCleanup(self.fleet.close)
        self.services = {name: self.service(name) for name in IDENTITIES}
        self.client = self.operator(FULL)

    def service(self, identity: str) -> Service:
        """Start one."""
        management: dict[str, Any] = {
            "name": "app",
            "identity": identity,
            "loglevel": "info",
            "brokers": [f"localhost:{self.fleet.server.port}"],
            "auth": {"full": [FULL], "read_only": [READ_ONLY]},
        }
        if self.secure:
            management["tls"] = {
                "scheme": "file",
                "ca": str(PKI / "ca.pem"),
                "cert": str(PKI / f"{identity}.pem"),
                "key": str(PKI / f"{identity}.key"),
            }
        else:
            management["auth"]["insecure"] = True
            management["auth"]["full"] = [FULL]
        dc = "DC2" if identity == IDENTITIES[2] else "DC1"
        return self.fleet.demo(
            "app", identity, dc=dc, interval=0.2, management=management, **self.fields
        )

    def config(self, caller: str) -> Path:
        """Write a client's configuration."""
        lines = [f"plugin.choria.middleware_hosts = localhost:{self.fleet.server.port}"]
        if self.secure:
            lines += [
                "plugin.security.provider = file",
                f"plugin.security.file.ca = {PKI / 'ca.pem'}",
                f"plugin.security.file.certificate = {PKI / f'{caller}.pem'}",
                f"plugin.security.file.key = {PKI / f'{caller}.key'}",
            ]
        return self.fleet.write(f"{caller}.cfg", "\n".join(lines) + "\n")

    def operator(self, caller: str) -> Client:
        """Return a client, which is connecting."""
        options: dict[str, Any] = {"certname": caller, "insecure": not self.secure}
        client = Client.from_config(str(self.config(caller)), reactor, **options)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    def cli(self, *args: str) -> Ran:
        """Run the command line as who may do everything."""
        mode = () if self.secure else ("--insecure",)
        return run_cli(
            *mode, "--config", str(self.config(FULL)), "app", *args, MCOLLECTIVE_CERTNAME=FULL
        )

    async def ask(self, action: str, client: Client | None = None, **how: Any) -> Outcome:
        """Ask all that match, of whom there are ``expect``."""
        who = {name: how.pop(name) for name in ("facts", "identities") if name in how}
        expect = how.pop("expect", len(IDENTITIES))
        return await (client or self.client).request("app", action, how, expect=expect, **who)

    async def data(self, action: str, **how: Any) -> dict[str, dict[str, Any]]:
        """Ask, and return what each said; every one has done it."""
        outcome = await self.ask(action, **how)
        self.assertEqual([each.reply.message for each in outcome.failed], [])
        self.assertEqual(outcome.exit_code, 0)
        return {answer.sender: dict(answer.reply.data) for answer in outcome.answers}

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds, and let the client go on meanwhile."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                texts = "\n".join(each.text() for each in self.services.values())
                raise AssertionError(f"never came: {what} in\n{texts}")
            await task.deferLater(reactor, 0.05, lambda: None)

    async def says(self, identity: str, line: str) -> None:
        """Wait until a service says something that it has not said up to now."""
        service = self.services[identity]
        before = len(service.text())
        await self.until(lambda: line in service.text()[before:], line)


class NamedTests(BreakerCase):
    """``breaker:payments``, in the insecure mode."""

    async def states(self) -> dict[str, tuple[Any, Any, Any]]:
        """Return what the old ``info`` says of each: paused, and both breakers."""
        ran = self.cli("info", "--json", "--expect", "3")
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        found = {each["sender"]: each["data"] for each in ran.json()["replies"]}
        return {
            name: (data["paused"], data["breakers"]["payments"], data["breakers"]["search"])
            for name, data in found.items()
        }

    async def test_payments(self) -> None:
        """Open on those that match, and nothing else is: not the whole, not ``search``."""
        first, second, third = IDENTITIES
        for name in IDENTITIES:
            await self.says(name, BOTH)
        changed = await self.data(
            "change",
            target="breaker:payments",
            to="open",
            why="bank is down",
            facts=["dc=DC1"],
            expect=2,
        )
        self.assertEqual(set(changed), {first, second})
        for data in changed.values():
            self.assertEqual((data["target"], data["value"]), ("breaker:payments", "open"))
            self.assertEqual(data["before"], "closed")
        await self.says(first, SEARCH)
        await self.says(second, SEARCH)
        await self.says(third, BOTH)
        opened, closed = (False, "open", "closed"), (False, "closed", "closed")
        self.assertEqual(await self.states(), {first: opened, second: opened, third: closed})
        (live,) = (await self.data("changes", identities=[first], expect=1))[first]["live"]
        self.assertEqual(
            (live["target"], live["to"], live["who"], live["why"]),
            ("breaker:payments", "open", self.client.caller_id, "bank is down"),
        )

        # The whole is another matter: what pauses and resumes it leaves the breakers alone.
        self.assertEqual(self.cli("pause", "-I", first).code, 0)
        self.assertEqual((await self.states())[first], (True, "open", "closed"))
        await self.says(first, "app: skipping work while paused\n")
        ran = self.cli("resume", "--expect", "3")
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertEqual(await self.states(), {first: opened, second: opened, third: closed})
        await self.says(first, SEARCH)

        ended = await self.data("end", target="breaker:payments", facts=["dc=DC1"], expect=2)
        for data in ended.values():
            self.assertEqual([each["value"] for each in data["ended"]], ["closed"])
        self.assertEqual(await self.states(), dict.fromkeys(IDENTITIES, closed))
        for name in IDENTITIES:
            await self.says(name, BOTH)

    async def test_refused(self) -> None:
        """Breakers that there are not, values that they do not have, callers who may not."""
        first = IDENTITIES[0]
        before = await self.states()
        for target, to, status, words in (
            ("breaker:mail", "open", 1, "mail"),
            ("breaker:Payments", "open", None, "Payments"),
            ("breaker:payments", "paused", None, "paused"),
        ):
            outcome = await self.ask("change", target=target, to=to, identities=[first], expect=1)
            (answer,) = outcome.answers
            self.assertFalse(answer.reply.ok, target)
            self.assertIn(words, answer.reply.message)
            if status is not None:
                self.assertEqual(answer.reply.status, status)
        self.assertEqual(await self.states(), before)


class NamedSecureTests(NamedTests):
    """The same with certificates."""

    secure = True

    async def test_reader(self) -> None:
        """Who may only look sees the breakers, and opens none."""
        before = await self.states()
        reader = self.operator(READ_ONLY)
        outcome = await self.ask("change", reader, target="breaker:payments", to="open")
        self.assertEqual(
            {answer.reply.message for answer in outcome.answers},
            {"You are not authorized to call this agent or action."},
        )
        outcome = await self.ask("changes", reader)
        self.assertEqual(len(outcome.good), len(IDENTITIES))
        for answer in outcome.answers:
            self.assertEqual(
                answer.reply.data["breakers"], dict.fromkeys(("payments", "search"), "closed")
            )
        self.assertEqual(await self.states(), before)


class WorkTests(BreakerCase):
    """Work that takes a while, and a logger."""

    fields = {"job": 2}

    async def test_drain(self) -> None:
        """What is under way is counted until it is done; nothing is begun."""
        first = IDENTITIES[0]
        one: dict[str, Any] = {"identities": [first], "expect": 1}

        async def state() -> tuple[Any, Any, Any]:
            data = (await self.data("info", **one))[first]
            return data["state"], data["in_flight"], data["paused"]

        async def wanted(condition: Callable[[tuple[Any, Any, Any]], bool]) -> tuple[Any, Any, Any]:
            end = time.monotonic() + PATIENCE
            while not condition(found := await state()):
                self.assertLess(time.monotonic(), end, found)
            return found

        await wanted(lambda found: found[1] > 2)
        changed = (await self.data("change", target="app", to="draining", **one))[first]
        self.assertEqual((changed["value"], changed["before"]), ("draining", "running"))
        self.assertGreater(changed["in_flight"], 0)
        counts = [changed["in_flight"]]

        def fewer(found: tuple[Any, Any, Any]) -> bool:
            counts.append(found[1])
            return bool(found[1] == 0)

        await wanted(fewer)
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.assertTrue((await state())[2], "old clients see that it takes no work")
        await self.data("resume", **one)
        self.assertEqual((await wanted(lambda found: found[1] > 0))[0], "running")

    async def test_logger(self) -> None:
        """One logger of one service says more, until it is put back."""
        first, second, _ = IDENTITIES
        payments, search = "demo.payments DEBUG payments at work", "demo.search DEBUG"
        one: dict[str, Any] = {"identities": [first], "expect": 1}
        await self.data("change", target="log:demo.payments", to="debug", **one)
        await self.says(first, payments)
        listed = (await self.data("loggers", match="demo", **one))[first]["loggers"]
        self.assertEqual(listed["demo.payments"], {"level": "debug", "effective": "debug"})
        self.assertEqual(listed["demo.search"], {"level": "unset", "effective": "info"})
        self.assertNotIn(search, self.services[first].text())
        self.assertNotIn(payments, self.services[second].text())
        await self.data("end", target="log:demo.payments", **one)
        listed = (await self.data("loggers", match="demo", **one))[first]["loggers"]
        self.assertEqual(listed["demo.payments"], {"level": "unset", "effective": "info"})
        quiet = self.services[first].text().count(payments)
        for _ in range(3):
            await self.says(first, BOTH)
        self.assertLessEqual(self.services[first].text().count(payments), quiet)
