"""Who may do what, on the network."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.node.agent import Agent, PlainAgent
from backplane.node.backplane import BackplaneAgent
from backplane.node.choria_util import ChoriaUtilAgent
from backplane.node.dispatch import DENIED
from backplane.node.rpcutil import RpcutilAgent
from backplane.node.standard import DiscoveryAgent
from backplane.security.roles import ACTION_ROLES, Role
from backplane.testing import Harness, RecordingApplication

BUILT_IN: tuple[type[Agent], ...] = (
    BackplaneAgent,
    RpcutilAgent,
    ChoriaUtilAgent,
    DiscoveryAgent,
)

ANNOUNCED: dict[str, set[str]] = {}
"""Rows of actions that are not there yet; a caller is told "Unknown action"."""


class TableTests(SynchronousTestCase):
    """One table of roles, and every action in it."""

    def test_every_action_has_a_row(self) -> None:
        """No action of a built-in agent is without a row, and no row without an action."""
        self.assertEqual({kind.metadata.name for kind in BUILT_IN}, set(ACTION_ROLES))
        for kind in BUILT_IN:
            name = kind.metadata.name
            self.assertEqual(
                set(kind.declared()), set(ACTION_ROLES[name]) - ANNOUNCED.get(name, set()), name
            )

    def test_declarations_agree(self) -> None:
        """What an action declares is what the table says; nothing that read-only callers
        may do changes anything."""
        for kind in BUILT_IN:
            for name, (_, _, role, changes) in kind.declared().items():
                self.assertIs(role, ACTION_ROLES[kind.metadata.name][name], name)
                self.assertFalse(changes and role is Role.READ_ONLY, name)

    def test_loaded_agents(self) -> None:
        """A node loads these agents and no others."""
        harness = Harness()
        self.addCleanup(harness.close)
        harness.manage(RecordingApplication())
        found = harness.ask("inventory", agent="rpcutil").data["agents"]
        self.assertEqual(found, sorted(ACTION_ROLES))


class AuthTests(SynchronousTestCase):
    """The ``auth`` section as callers meet it."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1"})

    def manage(self, **auth: Any) -> None:
        self.harness.manage(self.app, auth=auth)

    def allowed(self, caller: str) -> set[tuple[str, str]]:
        """Return the actions, with their agents, that a caller is not denied."""
        found = set()
        for kind in BUILT_IN:
            if issubclass(kind, PlainAgent):
                continue
            agent = kind.metadata.name
            for name in kind.declared():
                reply = self.harness.ask(name, agent=agent, caller=caller)
                if reply.message == DENIED:
                    self.assertEqual((reply.status, reply.data), (1, {}))
                else:
                    found.add((agent, name))
        return found

    def wanted(self, role: Role) -> set[tuple[str, str]]:
        return {
            (agent, name)
            for agent, rows in ACTION_ROLES.items()
            for name, needed in rows.items()
            if needed <= role and name not in ANNOUNCED.get(agent, set())
        }

    def test_lists(self) -> None:
        """Full callers may do all, read-only ones what the table says, others nothing."""
        self.manage(full=["sre.choria"], read_only=["1stline.choria"])
        self.assertEqual(self.allowed("sre.choria"), self.wanted(Role.FULL))
        self.assertEqual(self.allowed("1stline.choria"), self.wanted(Role.READ_ONLY))
        self.app.calls.clear()
        self.assertEqual(self.allowed("nobody.choria"), set())
        self.assertEqual(self.app.calls, [])

    def test_insecure(self) -> None:
        """``insecure`` lets everybody do everything."""
        self.manage(insecure=True)
        self.assertEqual(self.allowed("anybody"), self.wanted(Role.FULL))

    def test_empty(self) -> None:
        """An empty section, and an absent one, deny everybody; he still finds the service."""
        self.manage()
        self.assertEqual(self.allowed("sre.choria"), set())
        self.assertEqual(self.harness.request("pause", caller="sre.choria").count, 1)
        self.assertNotIn("pause", self.app.calls)

    def test_hidden(self) -> None:
        """With ``hidden`` callers without a role do not even find it."""
        self.manage(full=["sre.choria"], hidden=True)
        self.assertEqual(self.harness.request("ping", caller="nobody.choria").count, 0)
        self.assertEqual(self.harness.request("ping", caller="sre.choria").count, 1)

    def test_patterns(self) -> None:
        """A name is a name, dots and all; anything else is an expression, matched whole."""
        self.manage(full=["sre.choria", r"ops-\d+\.choria"])
        for caller, role in (
            ("sre.choria", True),
            ("sreXchoria", False),
            ("sre.choria.evil", False),
            ("not-sre.choria", False),
            ("ops-12.choria", True),
            ("ops-12.choria.evil", False),
            ("xops-12.choria", False),
        ):
            self.assertIs(self.harness.ask("pause", caller=caller).ok, role, caller)

    def test_denied_callers_change_nothing(self) -> None:
        """A denial is the same whether the service could do it or not at the moment."""
        self.manage(read_only=["1stline.choria"])
        self.app.raises["pause"] = RuntimeError("would fail")
        for name in ("pause", "shutdown", "debuglvl"):
            reply = self.harness.ask(name, caller="1stline.choria")
            self.assertEqual((reply.status, reply.message), (1, DENIED))
        self.harness.advance(15)
        self.assertFalse({"pause", "shutdown", "set_log_level"} & set(self.app.calls))
