"""May he? The lists of roles, and beside them an action policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from backplane.choria.facts import fact_matches, parse_fact
from backplane.node.agent import Action
from backplane.security.policy import Policy
from backplane.security.roles import Role, Roles

__all__ = ["Authorization", "Decision"]


@attrs.frozen
class Decision:
    """Whether an action is allowed, and what says so.

    :ivar rule: ``full``, ``read_only``, ``insecure``, a line of the policy, or
        ``no role``.
    """

    allowed: bool
    rule: str


class Authorization:
    """Decides about actions.

    A line of the policy that matches decides, be it ``allow`` or ``deny``. Where
    none does, the lists decide, and last the policy's default.

    :param policies: of now, by agent.
    :param facts: this service's facts, for the policies' lines.
    :param classes: its classes, likewise.
    """

    def __init__(
        self,
        roles: Roles,
        policies: Callable[[], Mapping[str, Policy]],
        facts: Callable[[], Mapping[str, Any]],
        classes: Callable[[], Sequence[str]],
    ) -> None:
        self._roles = roles
        self._policies = policies
        self._facts = facts
        self._classes = classes

    def role_of(self, caller_id: str) -> Role | None:
        """Return the caller's role, or ``None`` for one who may do nothing anywhere."""
        role = self._roles.role_of(caller_id)
        if role is None and any(each.admits(caller_id) for each in self._policies().values()):
            return Role.POLICY
        return role

    def decide(self, agent: str, action: Action, caller_id: str, role: Role | None) -> Decision:
        """Decide about one action.

        :param role: of the caller, as :meth:`role_of` gave it.
        """
        by_list = role is not None and role >= action.role
        policy = self._policies().get(agent)
        if policy is not None:
            facts = self._facts()
            allowed, rule = policy.decide(
                caller_id,
                action.name,
                lambda text: fact_matches(facts, parse_fact(text)),
                self._classes(),
            )
            if not by_list or not rule.startswith("default"):
                return Decision(allowed, f"policy {rule}")
        if self._roles.insecure:
            return Decision(True, "insecure")
        if role is None or role is Role.POLICY:
            return Decision(False, "no role")
        return Decision(by_list, role.name.lower())
