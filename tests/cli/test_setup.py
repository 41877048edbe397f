"""From settings to a connected operator."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli import setup
from backplane.cli.faults import Fault
from backplane.client.accounting import ExitCode
from backplane.client.credentials import Credentials
from backplane.config.client import ClientConfig
from backplane.security.signing import InsecureSigner


class ConnectTests(SynchronousTestCase):
    """With a reactor in memory."""

    def settings(self, *brokers: str, **config: Any) -> setup.Settings:
        return setup.Settings(
            config=ClientConfig(**config),
            brokers=brokers,
            identity="here.example.net",
            credentials=Credentials(caller_id="choria=sre.choria", signer=InsecureSigner()),
        )

    def test_options(self) -> None:
        """The connection has the caller's name and does not try for ever."""
        reactor: Any = MemoryReactorClock()
        settings = self.settings("192.0.2.1:4222", connect_timeout=7.0)
        client, operator = setup.connect(settings, reactor, reactor.seconds)
        options = client.options()
        self.assertEqual(
            (options["name"], options["connect_timeout"], options["allow_reconnect"]),
            ("choria=sre.choria", 7.0, False),
        )
        self.assertIs(operator.client, client)
        self.successResultOf(client.stopService())

    def test_bad_brokers(self) -> None:
        """Addresses that cannot be, from ``BROKER``: usage."""
        for broker in ("b.example.net:70000", "http://b.example.net", "b:port"):
            with self.assertRaises(Fault) as caught:
                setup.connect(self.settings(broker), MemoryReactorClock(), lambda: 0.0)
            fault: Any = caught.exception
            self.assertEqual(fault.code, ExitCode.USAGE, broker)
