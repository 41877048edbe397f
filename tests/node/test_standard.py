"""The agents that every Choria node has: ``discovery``, ``rpcutil``, ``choria_util``."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane import __version__
from backplane.choria.rpc import RpcReply
from backplane.node.choria_util import ChoriaUtilAgent
from backplane.node.rpcutil import RpcutilAgent
from backplane.node.standard import DiscoveryAgent
from backplane.testing import Harness, RecordingApplication
from tests.node.test_agent import Orders


class StandardCase(SynchronousTestCase):
    """A service with facts and classes."""

    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1", "app": {"ports": [80, 443]}, "n": 7})
        self.management = self.harness.manage(self.app, name="shop", **self.settings)

    def ask(self, action: str, data: dict[str, Any] | None = None, **how: Any) -> RpcReply:
        return self.harness.ask(action, data, agent="rpcutil", **how)

    def data(self, action: str, **inputs: Any) -> dict[str, Any]:
        reply = self.ask(action, inputs)
        self.assertEqual((reply.status, reply.message), (0, "OK"))
        return dict(reply.data)


class DiscoveryTests(StandardCase):
    """``discovery``."""

    def test_ping(self) -> None:
        """A body with ``ping`` is answered ``pong``; any other gets silence."""
        agent = DiscoveryAgent()
        for body, answer in (
            (b"ping", "pong"),
            (b"  ping please", "pong"),
            (b"", None),
            (b"PING", None),
            (b"\xff", None),
        ):
            self.assertEqual(agent.answer(body), answer)

    def test_found(self) -> None:
        """Operators find it, by any kind of filter, and not by one that does not match."""
        cases: tuple[tuple[dict[str, Any], int], ...] = (
            ({}, 1),
            ({"facts": ["dc=DC1"]}, 1),
            ({"facts": ["app.ports.1=443"]}, 1),
            ({"facts": ["n>=8"]}, 0),
            ({"identities": ["shop1.example.net"]}, 1),
            ({"identities": ["/^shop/"]}, 1),
            ({"classes": ["role::web"]}, 0),
            ({"select": ['fact("n") > 6 and "rpcutil" in agents']}, 1),
            ({"name": "other"}, 0),
        )
        for how, count in cases:
            how.setdefault("name", "shop")
            self.assertEqual(self.harness.request("ping", **how).count, count, how)

    def test_no_actions(self) -> None:
        """It has no RPC actions."""
        self.assertEqual(dict(DiscoveryAgent.declared()), {})


class RpcutilTests(StandardCase):
    """``rpcutil``."""

    def test_ping(self) -> None:
        """The time at which the request arrived."""
        pong = self.data("ping")["pong"]
        self.assertIsInstance(pong, int)
        self.assertLess(abs(pong - self.harness.clock.seconds()), 2)

    def test_inventory(self) -> None:
        """All that ``choria inventory`` shows, sorted."""
        found = self.data("inventory")
        facts = found.pop("facts")
        self.assertEqual(facts["app"], {"ports": [80, 443]})
        self.assertEqual(facts["backplane_name"], "backplane")
        self.assertEqual(
            found,
            {
                "agents": ["backplane", "choria_util", "discovery", "rpcutil"],
                "classes": [],
                "collectives": ["shop_backplane"],
                "data_plugins": [],
                "machines": [],
                "main_collective": "shop_backplane",
                "version": __version__,
                "upgradable": False,
            },
        )

    def test_collective_info(self) -> None:
        self.assertEqual(
            self.data("collective_info"),
            {"main_collective": "shop_backplane", "collectives": ["shop_backplane"]},
        )

    def test_agent_inventory(self) -> None:
        """Metadata of every agent; timeouts are those of Choria's own DDL."""
        agents = self.data("agent_inventory")["agents"]
        self.assertEqual(
            [(agent["agent"], agent["timeout"]) for agent in agents],
            [("backplane", 10), ("choria_util", 10), ("discovery", 2), ("rpcutil", 2)],
        )
        for agent in agents:
            self.assertEqual(
                set(agent),
                {
                    *("agent", "license", "author", "timeout"),
                    *("name", "version", "url"),
                    "description",
                },
            )
        self.assertEqual(agents[0]["description"], "Choria Management Backplane")

    def test_get_fact(self) -> None:
        """One fact by its path in its own type; an unknown one is null and no failure."""
        for name, value in (
            ("dc", "DC1"),
            ("n", 7),
            ("app", {"ports": [80, 443]}),
            ("app.ports.0", 80),
            ("app.ports.#", 2),
            ("unknown", None),
            ("..", None),
            ("#(", None),
            ("x" * 512, None),
        ):
            self.assertEqual(self.data("get_fact", fact=name), {"fact": name, "value": value})

    def test_get_facts(self) -> None:
        """Several facts by a comma list."""
        self.assertEqual(
            self.data("get_facts", facts="dc, n,unknown"),
            {"values": {"dc": "DC1", "n": 7, "unknown": None}},
        )

    def test_inputs(self) -> None:
        """Inputs that are missing, of another type or too long have status 4."""
        for action, inputs in (
            ("get_fact", {}),
            ("get_fact", {"fact": 1}),
            ("get_fact", {"fact": ""}),
            ("get_fact", {"fact": "x" * 513}),
            ("get_facts", {"facts": ["dc"]}),
            ("get_facts", {"facts": "x" * 201}),
            ("get_config_item", {}),
            ("get_config_item", {"item": "x" * 121}),
        ):
            self.assertEqual(self.ask(action, inputs).status, 4, (action, inputs))

    def test_daemon_stats(self) -> None:
        """Counters with Choria's names, and those dropped by reason."""
        found = self.data("daemon_stats")
        self.assertEqual(
            set(found),
            {
                *("agents", "configfile", "filtered", "pid", "passed", "threads", "replies"),
                *("starttime", "ttlexpired", "events", "times", "total", "unvalidated"),
                *("validated", "version", "dropped", "refused"),
            },
        )
        self.assertEqual(found["pid"], os.getpid())
        self.assertEqual(found["starttime"], 1_700_000_000)
        self.assertEqual(set(found["times"]), {"cstime", "cutime", "stime", "utime"})
        # The discovery and this request.
        self.assertEqual((found["total"], found["validated"], found["passed"]), (2, 2, 2))
        self.assertEqual((found["replies"], found["events"]), (1, 1))

    def test_get_config_item(self) -> None:
        """Settings of a fixed list; whatever could be a secret is unknown."""
        self.assertEqual(
            self.data("get_config_item", item="main_collective"),
            {"item": "main_collective", "value": "shop_backplane"},
        )
        self.assertEqual(
            self.data("get_config_item", item="collectives")["value"], ["shop_backplane"]
        )
        for name in ("password", "plugin.nats.pass", "token", "user", "__class__", "brokers"):
            reply = self.ask("get_config_item", {"item": name})
            self.assertEqual((reply.status, reply.message), (1, "Unknown key"))

    def test_get_data(self) -> None:
        """There are no data plugins."""
        reply = self.ask("get_data", {"source": "choria"})
        self.assertEqual((reply.status, reply.message), (1, "Unknown data plugin"))

    def test_unknown(self) -> None:
        reply = self.ask("reboot")
        self.assertEqual(
            (reply.status, reply.message), (2, "Unknown action reboot for agent rpcutil")
        )


class BrokerSecretsTests(SynchronousTestCase):
    """No action shows how the service logs in."""

    def test_credentials(self) -> None:
        """Neither those of the configuration nor those in an address."""
        for settings in (
            {"nats": {"user": "app", "password": "hunter2"}},
            {"brokers": ["nats://app:hunter2@broker.example.net:4222"]},
        ):
            harness = Harness()
            self.addCleanup(harness.close)
            harness.broker.user, harness.broker.password = "app", "hunter2"
            harness.manage(RecordingApplication(), **settings)
            # Operators come without a password.
            harness.broker.user = harness.broker.password = None
            info = harness.ask("info", agent="choria_util").data
            self.assertEqual(info["middleware_servers"], ["broker.example.net:4222"])
            self.assertEqual(info["connected_server"], "nats://broker.example.net:4222")
            self.assertNotIn("hunter2", str(info))
            self.assertNotIn("hunter2", str(harness.ask("inventory", agent="rpcutil").data))
            harness.close()


class ClassesTests(SynchronousTestCase):
    """Classes of the node come from a file."""

    def test_file(self) -> None:
        """One a line, read anew with the facts; a file that is gone leaves none."""
        harness = Harness()
        self.addCleanup(harness.close)
        handle, path = tempfile.mkstemp()
        os.write(handle, b"role::web\n\n  base \n\xff\n")
        os.close(handle)
        harness.manage(classes_file=path, facts={"interval": 10})
        found = harness.ask("inventory", agent="rpcutil").data["classes"]
        self.assertEqual(found, ["base", "role::web", "\ufffd"])
        self.assertEqual(harness.request("ping", classes=["role::web"]).count, 1)
        self.assertEqual(harness.request("ping", classes=["/^role/"]).count, 1)
        self.assertEqual(harness.request("ping", classes=["role::db"]).count, 0)
        os.unlink(path)
        harness.advance(10)
        self.assertEqual(harness.ask("inventory", agent="rpcutil").data["classes"], [])
        self.assertEqual(harness.request("ping", classes=["role::web"]).count, 0)


class ChoriaUtilTests(StandardCase):
    """``choria_util``."""

    def ask(self, action: str, data: dict[str, Any] | None = None, **how: Any) -> RpcReply:
        return self.harness.ask(action, data, agent="choria_util", **how)

    def test_info(self) -> None:
        """All of Choria's keys, with the truth about the connection."""
        found = self.data("info")
        self.assertEqual(
            set(found),
            {
                *("security", "connector", "client_version", "client_flavour", "client_options"),
                *("client_stats", "connected_server", "facter_domain", "facter_command"),
                *("srv_domain", "using_srv", "middleware_servers", "path", "choria_version"),
                *("secure_protocol", "connector_tls"),
            },
        )
        self.assertEqual(found["connected_server"], "nats://broker.example.net:4222")
        self.assertEqual(found["middleware_servers"], ["broker.example.net:4222"])
        self.assertEqual((found["secure_protocol"], found["connector_tls"]), (False, False))
        self.assertEqual(
            set(found["client_options"]),
            {
                *("servers", "dont_randomize_servers", "name", "pedantic", "secure"),
                *("allow_reconnect", "max_reconnect_attempts", "reconnect_time_wait"),
                *("connect_timeout", "ping_interval", "max_outstanding_pings"),
            },
        )
        stats = found["client_stats"]
        self.assertLessEqual(
            {"in_msgs", "out_msgs", "in_bytes", "out_bytes", "reconnects"}, set(stats)
        )
        self.assertGreater(stats["in_msgs"], 0)

    def test_machines(self) -> None:
        """There are no autonomous agents, in the words of Choria."""
        self.assertEqual(
            self.data("machine_states"), {"machine_ids": [], "machine_names": [], "states": {}}
        )
        for inputs, text in (
            ({}, "No search criteria given"),
            ({"name": "x"}, "No running machines"),
        ):
            reply = self.ask("machine_state", inputs)
            self.assertEqual((reply.status, reply.message), (1, text))
            self.assertEqual(reply.data["name"], "unknown machine")
            self.assertIsNone(reply.data["available_transitions"])
        reply = self.ask("machine_transition", {"transition": "start"})
        self.assertEqual(
            (reply.status, reply.message),
            (1, "Could not perform start transition: no running machines"),
        )


class DeclarationTests(SynchronousTestCase):
    """What these agents say they answer is what they answer."""

    def test_outputs(self) -> None:
        """Every output that a successful reply has is declared, and the other way round."""
        harness = Harness()
        self.addCleanup(harness.close)
        harness.manage(RecordingApplication(), Orders())
        inputs = {
            "get_fact": {"fact": "x"},
            "get_facts": {"facts": "x"},
            "get_config_item": {"item": "identity"},
        }
        for agent, kind in (("rpcutil", RpcutilAgent), ("choria_util", ChoriaUtilAgent)):
            for name, (_, declaration, _, _) in kind.declared().items():
                reply = harness.ask(name, inputs.get(name), agent=agent)
                if reply.ok:
                    declared = {output.name for output in declaration.outputs}
                    self.assertEqual(set(reply.data) - {"dropped", "refused"}, declared, name)
