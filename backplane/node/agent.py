"""Agents: declared actions with roles, inputs and outputs, and the DDL made of them.

An application's own agent is a subclass::

    class Orders(Agent):
        metadata = Metadata(
            name="orders", description="Orders", version="1.0.0", author="Shop <shop@example.net>"
        )

        @action(
            "Puts a failed order back into the queue",
            inputs=[Input(name="order", prompt="Order", description="Number", type="integer")],
            outputs=[Output(name="place", description="Place in it", display_as="Place")],
        )
        def requeue(self, request):
            return {"place": self.queue.put(request.data["order"])}

An action gets one :class:`ActionRequest` and returns a mapping, or a Deferred
or coroutine of one; it raises :class:`~backplane.choria.rpc.ActionError` to
fail with a status of its choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import attrs
from twisted.application.service import Service

from backplane.choria.ddl import DDL, ActionDDL, Aggregate, Input, Metadata, Output
from backplane.node.invoking import CallMode
from backplane.security.roles import Role, required_role

__all__ = ["Action", "ActionRequest", "Agent", "Metadata", "PlainAgent", "action"]

ROLES: Final[Mapping[str, Role]] = {"read_only": Role.READ_ONLY, "full": Role.FULL}

_MARK: Final = "__backplane_action__"
_Method = TypeVar("_Method", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class ActionRequest:
    """What an action learns of a request.

    :ivar data: the inputs, checked against the declaration where there is one.
    :ivar caller_id: who asks; verified in secure mode, claimed in insecure mode.
    :ivar time: Unix time at which the request was made, whole seconds.
    """

    agent: str
    action: str
    data: Mapping[str, Any]
    caller_id: str
    sender_id: str
    request_id: str
    collective: str
    ttl: int
    time: int


@attrs.frozen(kw_only=True)
class Action:
    """One action of an agent.

    :ivar role: the least role that may call it.
    :ivar changes: whether it changes something: then it is remembered against
        replay and runs alone.
    :ivar checked: whether inputs are checked against the declaration. The
        actions that Go's agents have take none and ignore what is sent.
    """

    declaration: ActionDDL
    role: Role
    changes: bool
    run: Callable[[ActionRequest], object]
    checked: bool = True

    @property
    def name(self) -> str:
        """The action's name."""
        return self.declaration.name


def action(
    description: str,
    *,
    name: str | None = None,
    role: Literal["read_only", "full"] = "full",
    changes: bool | None = None,
    inputs: Sequence[Input] = (),
    outputs: Sequence[Output] = (),
    display: Literal["ok", "failed", "always"] = "failed",
    aggregate: Sequence[Aggregate] = (),
) -> Callable[[_Method], _Method]:
    """Declare a method of an :class:`Agent` as an action.

    :param name: by default the method's name.
    :param role: ``full``, or ``read_only`` for what read-only callers may do too.
    :param changes: by default, whatever needs the role ``full``.
    :param display: when clients show a reply.
    :raises TypeError, ValueError: for what cannot be declared.
    """
    if not isinstance(description, str):
        raise TypeError("an action is declared with its description: @action('…')")
    if role not in ROLES:
        raise ValueError(f"role {role!r} is not one of {', '.join(ROLES)}")

    def mark(method: _Method) -> _Method:
        declaration = ActionDDL(
            name=name or method.__name__,
            description=description,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            display=display,
            aggregates=tuple(aggregate),
        )
        change = role == "full" if changes is None else changes
        setattr(method, _MARK, (declaration, ROLES[role], change))
        return method

    return mark


class Agent(Service):
    """Base class of agents; a Service that starts and stops with the management.

    :cvar metadata: name, description, version, author, license, url, timeout in seconds.
    :cvar checks_inputs: whether inputs are checked against the declarations.
    :ivar calls: how its actions are called, as given where it is provided.
    """

    metadata: Metadata
    checks_inputs = True
    calls: CallMode = "reactor"
    _actions: Mapping[str, Action] | None = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        metadata = getattr(cls, "metadata", None)
        if cls.declared() and not isinstance(metadata, Metadata):
            raise TypeError(f"{cls.__name__} has actions and no metadata = Metadata(…)")

    @classmethod
    def declared(cls) -> Mapping[str, tuple[str, ActionDDL, Role, bool]]:
        """Return the declared actions: attribute, declaration, role, whether it changes."""
        found = {}
        for attribute in dir(cls):
            mark = getattr(getattr(cls, attribute, None), _MARK, None)
            if mark is not None:
                declaration, role, changes = mark
                if declaration.name in found:
                    raise ValueError(f"{cls.__name__} has two actions named {declaration.name}")
                found[declaration.name] = (attribute, declaration, role, changes)
        return found

    @classmethod
    def full_ddl(cls) -> DDL:
        """Return the DDL of all declared actions."""
        declared = cls.declared()
        return DDL(
            metadata=cls.metadata, actions=tuple(declared[name][1] for name in sorted(declared))
        )

    def actions(self) -> Mapping[str, Action]:
        """Return the actions that this agent has at the moment, by name.

        Roles of built-in agents' actions are those of
        :data:`backplane.security.roles.ACTION_ROLES`, whatever is declared.
        """
        if self._actions is None:
            self._actions = {
                name: Action(
                    declaration=declaration,
                    role=required_role(self.metadata.name, name, role) or role,
                    changes=changes,
                    run=getattr(self, attribute),
                    checked=self.checks_inputs,
                )
                for name, (attribute, declaration, role, changes) in self.declared().items()
                if self.provides(name)
            }
        return self._actions

    def provides(self, action: str) -> bool:
        """Say whether a declared action is present; by default all are. Asked once."""
        return True

    def ddl(self) -> DDL:
        """Return the DDL of the actions that are present."""
        return DDL(
            metadata=self.metadata,
            actions=tuple(self.actions()[name].declaration for name in sorted(self.actions())),
        )


class PlainAgent(Agent):
    """An agent whose messages are not RPC, such as ``discovery``."""

    def answer(self, body: bytes) -> str | None:
        """Return the reply body, or ``None`` to stay silent."""
        raise NotImplementedError
