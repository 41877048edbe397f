"""The client's API with Deferreds, on a clock."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from backplane.client import Client, ExitCode
from backplane.errors import ConfigError
from backplane.nats.errors import ConnectionClosed, ConnectionFailed
from backplane.testing import Harness, RecordingApplication


class ClientTests(SynchronousTestCase):
    """A client beside a managed application."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1"})
        self.harness.manage(self.app)

    def make(self, **options: Any) -> Client:
        """Return a client that is stopped at the end."""
        options = {"insecure": True, "certname": "sre.choria", "identity": "here", **options}
        client = Client(
            "broker.example.net:4222",
            self.harness.clock,
            now=self.harness.clock.seconds,
            endpoint=self.harness.endpoint,
            **options,
        )
        self.addCleanup(lambda: self.harness.result_of(client.stopService()))
        return client

    def client(self, **options: Any) -> Client:
        """Return a client that connects."""
        client = self.make(**options)
        client.startService()
        return client

    def test_discover(self) -> None:
        """Services that match, before there is a connection too."""
        client = self.client()
        self.assertFalse(client.is_connected)
        found = self.harness.result_of(client.discover("app", facts=["dc=DC1"]))
        self.assertEqual(found, {"app1.example.net": 1})
        self.assertTrue(client.is_connected)
        found = self.harness.result_of(client.discover("app", facts=["dc=DC2"]))
        self.assertEqual(found, {})

    def test_request(self) -> None:
        """What was asked happens, and its outcome is told."""
        outcome = self.harness.result_of(self.client().request("app", "pause"))
        self.assertEqual(outcome.exit_code, ExitCode.OK)
        self.assertEqual([answer.reply.data for answer in outcome.good], [{"paused": True}])
        self.assertIn("pause", self.app.calls)

    def test_other_agents(self) -> None:
        """Agents with inputs."""
        asked = self.client().request(
            "app", "get_fact", {"fact": "dc"}, agent="rpcutil", change=False
        )
        (answer,) = self.harness.result_of(asked).answers
        self.assertEqual(answer.reply.data["value"], "DC1")

    def test_refused_at_once(self) -> None:
        """What cannot be is an error of the call."""
        client = self.client()
        self.assertRaises(ValueError, client.discover, "app", facts=[""])
        self.assertRaises(ValueError, client.discover, "app.>")
        self.assertRaises(ValueError, client.request, "app", "ping", facts=[""])
        self.assertRaises(ValueError, client.request, "app.>", "ping")
        self.assertRaises(TypeError, client.request, "app", "ping", identities="one")
        self.assertRaises(TypeError, client.request, "app", "ping", progress=print)

    def test_cancel(self) -> None:
        """Cancelling stops it, connected or not."""
        client = self.make()
        for _ in range(2):
            waiting = client.request("app", "pause")
            client.startService()
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            self.harness.result_of(client.when_connected())
        self.harness.advance(5)
        self.assertNotIn("pause", self.app.calls)

    def test_without_retry(self) -> None:
        """One that does not try again says so."""
        self.harness.network.fail_dns("broker.example.net")
        client = self.client(retry=False)
        waiting = client.request("app", "ping")
        self.assertRaises(ConnectionFailed, self.harness.result_of, waiting)
        self.harness.network.fail_dns("broker.example.net", False)

    def test_stopped(self) -> None:
        """A stopped one asks nobody, and can be started again."""
        client = self.client()
        self.harness.result_of(client.when_connected())
        self.harness.result_of(client.stopService())
        self.assertRaises(ConnectionClosed, self.harness.result_of, client.request("app", "ping"))
        client.startService()
        self.assertEqual(self.harness.result_of(client.request("app", "ping")).exit_code, 0)

    def test_names(self) -> None:
        """Who asks: as it was said, or as the environment says; nonsense is refused."""
        self.assertEqual(self.make().caller_id, "choria=sre.choria")
        self.patch(os, "environ", {"MCOLLECTIVE_CERTNAME": "bob.mcollective"})
        self.assertEqual(self.make(certname=None).caller_id, "choria=bob.mcollective")
        self.assertRaises(ValueError, self.make, certname="a b")
        self.assertRaises(ValueError, self.make, identity="a b")
        self.assertRaisesRegex(ValueError, "insecure=True", self.make, insecure=False)

    def test_config(self) -> None:
        """A configuration file says where brokers are; arguments win over it."""
        path = self.mktemp()
        with open(path, "w") as stream:
            stream.write("plugin.choria.middleware_hosts = wrong:1, broker.example.net:4222\n")
        options: dict[str, Any] = {
            "insecure": True,
            "certname": "sre.choria",
            "identity": "here",
            "endpoint": self.harness.endpoint,
            "now": self.harness.clock.seconds,
        }
        client = Client.from_config(path, self.harness.clock, **options)
        client.startService()
        self.addCleanup(lambda: self.harness.result_of(client.stopService()))
        self.assertEqual(self.harness.result_of(client.request("app", "ping")).exit_code, 0)
        error = self.assertRaises(ConfigError, Client.from_config, path + "x", self.harness.clock)
        self.assertIn(path + "x", str(error))
