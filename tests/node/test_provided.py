"""What is taken of what an application provides: interfaces, and those that they extend."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer

from backplane import Management
from backplane.errors import StateError
from backplane.interfaces import IDrainable, ILoggerLevels, INamedBreakers, IPausable, LogLevel
from backplane.node.backplane import Provided
from backplane.node.provided import INTERFACES, Provision

CONFIG = {
    "name": "shop",
    "identity": "s1.example.net",
    "brokers": ["b"],
    "auth": {"insecure": True},
}


@implementer(IPausable)
class Plain:
    """What could be paused before there was more."""

    def pause(self) -> None:
        """See :class:`IPausable`."""

    def resume(self) -> None:
        """See :class:`IPausable`."""

    def flip(self) -> None:
        """See :class:`IPausable`."""

    def paused(self) -> bool:
        """See :class:`IPausable`."""
        return False


class Counting(Plain):
    """Has the methods of more than it says that it provides."""

    def drain(self) -> None:
        """See :class:`IDrainable`."""

    def in_flight(self) -> int:
        """See :class:`IDrainable`."""
        return 0


@implementer(IDrainable)
class Drainable(Counting):
    """Says so."""


class Broken(Plain):
    """Says more than is true."""

    def drain(self) -> None:
        """See :class:`IDrainable`."""


@implementer(ILoggerLevels)
class Levels:
    """Levels of loggers."""

    def set_log_level(self, level: LogLevel) -> None:
        """See :class:`ILoggerLevels`."""

    def get_log_level(self) -> LogLevel:
        """See :class:`ILoggerLevels`."""
        return LogLevel.INFO

    def restore_log_level(self) -> None:
        """See :class:`ILoggerLevels`."""

    def loggers(self) -> dict[str, Any]:
        """See :class:`ILoggerLevels`."""
        return {}

    def set_logger_level(self, name: str, level: LogLevel | None) -> None:
        """See :class:`ILoggerLevels`."""


@implementer(INamedBreakers)
class Named:
    """Breakers."""

    def breakers(self) -> dict[str, Any]:
        """See :class:`INamedBreakers`."""
        return {"payments": Plain()}


class ProvisionTests(SynchronousTestCase):
    """``Provision``."""

    def setUp(self) -> None:
        self.provision = Provision()

    def taken(self) -> dict[str, object]:
        return {name: provided for name, (provided, _) in self.provision.interfaces.items()}

    def test_fields(self) -> None:
        """Each interface has its field, by which the agent asks for it."""
        self.assertEqual(set(INTERFACES), {field.name for field in attrs.fields(Provided)})

    def test_extending(self) -> None:
        """Who provides more counts for both, as one object, in one mode."""
        drainable, levels, named = Drainable(), Levels(), Named()
        for each in (drainable, levels, named):
            self.provision.add(each, "thread")
        self.assertEqual(
            self.taken(),
            {
                "pausable": drainable,
                "drainable": drainable,
                "log_level": levels,
                "loggers": levels,
                "breakers": named,
            },
        )
        self.assertEqual({mode for _, mode in self.provision.interfaces.values()}, {"thread"})

    def test_plain(self) -> None:
        """What does not say that it provides more is not asked for more."""
        counting = Counting()
        self.provision.add(counting, "reactor")
        self.assertEqual(self.taken(), {"pausable": counting})

    def test_twice(self) -> None:
        """Two for one interface are one too many, and then nothing of the second is taken."""
        plain = Plain()
        self.provision.add(plain, "reactor")
        error = self.assertRaises(StateError, self.provision.add, Drainable(), "reactor")
        self.assertEqual(str(error), "IPausable was provided already")
        self.assertRaises(StateError, self.provision.add_as, "drainable", Drainable(), "reactor")
        self.assertEqual(self.taken(), {"pausable": plain})

    def test_missing(self) -> None:
        """A method that is missing is named, and who asks for it."""
        broken = Broken()
        alsoProvides(broken, IDrainable)
        error = self.assertRaises(TypeError, self.provision.add, broken, "reactor")
        self.assertEqual(str(error), "Broken has no method in_flight(), which IDrainable asks for")
        self.assertEqual(self.taken(), {})
        error = self.assertRaises(TypeError, self.provision.add_as, "loggers", Plain(), "reactor")
        self.assertIn("which ILogLevelSetable asks for", str(error))
        error = self.assertRaises(TypeError, self.provision.add_as, "breakers", Plain(), "reactor")
        self.assertIn("has no method breakers()", str(error))


class KeywordTests(SynchronousTestCase):
    """``Management(…)`` by keywords."""

    def taken(self, **provided: object) -> dict[str, object]:
        management = Management(CONFIG, **provided)  # type: ignore[arg-type]
        return {name: each for name, (each, _) in management._provision.interfaces.items()}

    def test_both(self) -> None:
        """Given for the base it counts for more, given for more it counts for the base."""
        drainable, levels = Drainable(), Levels()
        both = {"pausable": drainable, "drainable": drainable}
        self.assertEqual(self.taken(pausable=drainable), both)
        self.assertEqual(self.taken(drainable=drainable), both)
        self.assertEqual(self.taken(pausable=drainable, drainable=drainable), both)
        self.assertEqual(
            self.taken(log_level=levels, loggers=levels, breakers=Named()).keys(),
            {"log_level", "loggers", "breakers"},
        )

    def test_methods(self) -> None:
        """Only methods are asked for: what is given for more counts for the base as well."""
        counting = Counting()
        self.assertEqual(self.taken(pausable=counting), {"pausable": counting})
        self.assertEqual(
            self.taken(drainable=counting), {"pausable": counting, "drainable": counting}
        )

    def test_two(self) -> None:
        """The work of one object and the breaker of another cannot be put together."""
        self.assertRaises(StateError, self.taken, pausable=Plain(), drainable=Drainable())
