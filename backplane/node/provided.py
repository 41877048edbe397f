"""What an application provides to be managed, taken apart by interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from twisted.application.service import IService

from backplane.errors import StateError
from backplane.interfaces import (
    IDrainable,
    IHealthCheckable,
    IInfoSource,
    ILoggerLevels,
    ILogLevelSetable,
    INamedBreakers,
    IPausable,
    IStopable,
)
from backplane.node.agent import Agent
from backplane.node.invoking import CallMode

__all__ = ["INTERFACES", "Provision"]

INTERFACES: Final[Mapping[str, Any]] = {
    "info_source": IInfoSource,
    "pausable": IPausable,
    "health": IHealthCheckable,
    "stopable": IStopable,
    "log_level": ILogLevelSetable,
    "breakers": INamedBreakers,
    "drainable": IDrainable,
    "loggers": ILoggerLevels,
}
"""By field of :class:`~backplane.node.backplane.Provided`."""


class Provision:
    """What has been provided so far.

    :ivar interfaces: by key of :data:`INTERFACES`, who provides it and how it is called.
    :ivar agents: agents of the application's own.
    :ivar services: what is started and stopped with the management.
    """

    def __init__(self) -> None:
        self.interfaces: dict[str, tuple[object, CallMode]] = {}
        self.agents: list[Agent] = []
        self.services: list[Any] = []

    def add(self, provided: object, calls: CallMode) -> None:
        """Take everything that ``provided`` provides, or, with an error, nothing.

        :raises StateError: for an interface, or the name of an agent, that is there already.
        :raises TypeError: when there is nothing in it to be taken, or a method is missing.
        :raises ValueError: for an unknown mode of ``calls``.
        """
        _check_calls(calls)
        if isinstance(provided, type):
            raise TypeError(f"{provided.__name__} is a class; an instance of it is provided")
        agent = provided if isinstance(provided, Agent) else None
        names = [name for name, face in INTERFACES.items() if face.providedBy(provided)]
        service = agent is None and IService.providedBy(provided)
        if agent is None and not names and not service:
            faces = ", ".join(face.__name__ for face in INTERFACES.values())
            raise TypeError(
                f"{type(provided).__name__} provides none of {faces}, IService; "
                "is it decorated with @implementer(…)?"
            )
        for name in names:
            self._check(name, provided)
        if service and any(each is provided for each in self.services):
            raise StateError(f"this {type(provided).__name__} was provided already")
        if agent is not None:
            name = agent.metadata.name
            if any(each.metadata.name == name for each in self.agents):
                raise StateError(f"there is an agent {name} already")
            agent.calls = calls
            self.agents.append(agent)
        if service:
            self.services.append(provided)
        for name in names:
            self.interfaces[name] = (provided, calls)

    def add_as(self, name: str, provided: object, calls: CallMode) -> None:
        """Take ``provided`` for one interface, of which it need only have the methods.

        It is taken for what that interface extends as well, and for what extends it if
        ``provided`` says that it provides that.

        :raises StateError: when somebody else was taken for one of them already.
        :raises TypeError: when a method is missing.
        :raises ValueError: for an unknown mode of ``calls``.
        """
        _check_calls(calls)
        names = [
            each
            for each in _relatives(name, provided)
            if each not in self.interfaces or self.interfaces[each][0] is not provided
        ]
        for each in names:
            self._check(each, provided)
        for each in names:
            self.interfaces[each] = (provided, calls)

    def _check(self, name: str, provided: object) -> None:
        face = INTERFACES[name]
        if name in self.interfaces:
            raise StateError(f"{face.__name__} was provided already")
        for method in face.names():
            if not callable(getattr(provided, method, None)):
                raise TypeError(
                    f"{type(provided).__name__} has no method {method}(), "
                    f"which {face.__name__} asks for"
                )


def _relatives(name: str, provided: object) -> list[str]:
    """Return an interface with those that come with it, by field."""
    face = INTERFACES[name]
    return [
        each
        for each, other in INTERFACES.items()
        if face.isOrExtends(other) or (other.extends(face) and other.providedBy(provided))
    ]


def _check_calls(calls: str) -> None:
    # A misspelt mode would let methods that block run on the reactor.
    if calls not in get_args(CallMode):
        raise ValueError(f"calls={calls!r} is not one of {', '.join(get_args(CallMode))}")
