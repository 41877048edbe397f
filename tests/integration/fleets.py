"""Fleets of the demo application, in both modes, with operators who have names."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import Any, Final

from twisted.trial.unittest import TestCase

from backplane.testing.pki import PKI
from tests.integration.fleet import Fleet, Ran, Service, run_cli

__all__ = ["SERVICE", "FleetCase", "authority"]

SERVICE: Final = "app"
OPERATORS: Final = ("sre.choria", "bob.choria")


@cache
def authority() -> PKI:
    """Return the CA of all that these tests start."""
    return PKI(tempfile.mkdtemp(prefix="backplane-test-"), reuse_keys=True)


class FleetCase(TestCase):
    """Some services, each a process; a broker, and two operators who may do everything.

    :cvar secure: whether there is TLS and requests are signed.
    :cvar count: how many services there are.
    :cvar fields: further fields of every service's file; ``management`` is added to.
    """

    secure = False
    count = 3
    fields: dict[str, Any] = {}

    def setUp(self) -> None:
        config = authority().nats_config(authority().server("localhost")) if self.secure else ""
        self.fleet = Fleet(config)
        self.addCleanup(self.fleet.close)
        self.names = [f"app{number}.example.net" for number in range(1, self.count + 1)]
        self.services = {name: self.service(name) for name in self.names}

    def service(self, identity: str, **fields: Any) -> Service:
        """Start one more service."""
        given = {**self.fields, **fields}
        management: dict[str, Any] = {
            "name": SERVICE,
            "identity": identity,
            "loglevel": "info",
            "brokers": [f"localhost:{self.fleet.server.port}"],
            "auth": {"full": list(OPERATORS)} if self.secure else {"insecure": True},
            **given.pop("management", {}),
        }
        if self.secure:
            management["tls"] = {"scheme": "file", **files(identity)}
        return self.fleet.demo(SERVICE, identity, **given, management=management)

    def words(self, *args: str, by: str = OPERATORS[0], service: bool = True) -> list[str]:
        """Return the arguments of an operator's command."""
        lines = [f"plugin.choria.middleware_hosts = localhost:{self.fleet.server.port}"]
        if self.secure:
            paths = files(by)
            lines += [
                "plugin.security.provider = file",
                f"plugin.security.file.ca = {paths['ca']}",
                f"plugin.security.file.certificate = {paths['cert']}",
                f"plugin.security.file.key = {paths['key']}",
            ]
        config = self.fleet.write(f"{by}.cfg", "\n".join(lines) + "\n")
        mode = () if self.secure else ("--insecure",)
        return [*mode, "--config", str(config), *((SERVICE,) if service else ()), *args]

    def cli(self, *args: str, by: str = OPERATORS[0], service: bool = True) -> Ran:
        """Run a command as an operator."""
        words = self.words(*args, by=by, service=service)
        return run_cli(*words, MCOLLECTIVE_CERTNAME=by, **self.fleet.state)

    def good(self, *args: str, code: int = 0, **who: Any) -> Ran:
        """Run a command that must end with this exit code."""
        ran = self.cli(*args, **who)
        self.assertEqual(ran.code, code, ran.out + ran.err)
        return ran

    def everybody(self) -> tuple[str, ...]:
        """Return flags with which a command does not wait for more."""
        return ("--expect", str(len(self.services)))

    def told(self, name: str) -> dict[str, Any]:
        """Return one output of ``info`` by identity."""
        ran = self.good("info", *self.everybody(), "--json")
        return {each["sender"]: each["data"][name] for each in ran.json()["replies"]}


def files(name: str) -> dict[str, str]:
    """Return the paths of somebody's certificate."""
    issued = authority().client(name)
    return {"ca": issued.ca, "cert": issued.cert, "key": issued.key}
