"""An operator manages services that run under twistd, on a real nats-server."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.integration.fleet import Fleet


class StandaloneTests(TestCase):
    """The main path, as a user walks it."""

    def setUp(self) -> None:
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)

    def test_pause_one_of_two(self) -> None:
        """Pausing one by its identity leaves the other working, and info says so."""
        self.fleet.demo("app", "one.example.net")
        self.fleet.demo("app", "two.example.net")
        paused = self.fleet.cli("app", "pause", "-I", "one.example.net")
        self.assertEqual(paused.code, 0, paused.err)
        self.assertIn("Performing pause... ✓ 1 / 1", paused.err)
        self.assertIn("Managed 1 service(s) in", paused.out)
        info = self.fleet.cli("app", "info", "--json")
        states = {reply["sender"]: reply["data"]["paused"] for reply in info.json()["replies"]}
        self.assertEqual(states, {"one.example.net": True, "two.example.net": False})

    def test_every_action(self) -> None:
        """Every action of the brief succeeds; shutdown ends the process with status 0."""
        service = self.fleet.demo("app", "one")
        actions = "info ping health pause resume flip debuglvl infolvl warnlvl critlvl threaddump"
        for action in actions.split():
            ran = self.fleet.cli("exec", "app", action, "--expect", "1")
            self.assertEqual(ran.code, 0, f"{action}: {ran.out}{ran.err}")
        ran = self.fleet.cli("app", "shutdown", "-v")
        self.assertEqual(ran.code, 0, ran.err)
        self.assertIn('one  {"delay":"', ran.out)
        self.assertEqual(service.process.wait(30), 0)
