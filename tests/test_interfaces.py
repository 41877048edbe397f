"""What an application provides."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from backplane import interfaces
from backplane.config.settings import StandardConfiguration
from backplane.interfaces import (
    DataItem,
    IConfigProvider,
    IDrainable,
    IHealthCheckable,
    IInfoSource,
    ILoggerLevels,
    ILogLevelSetable,
    INamedBreakers,
    IPausable,
    IStopable,
    LogLevel,
    blocking,
)
from backplane.parts import Application
from backplane.testing import RecordingApplication


@implementer(IInfoSource, IPausable, IHealthCheckable, IStopable, ILogLevelSetable)
class Everything:
    """An application that provides all there is, as one would write it."""

    def __init__(self) -> None:
        self._paused = False
        self._level = LogLevel.INFO

    def fact_data(self) -> dict[str, int]:
        """Facts."""
        return {"interval": 600}

    def version(self) -> str:
        """Version."""
        return "1.0.0"

    def pause(self) -> None:
        """Pause."""
        self._paused = True

    def resume(self) -> None:
        """Resume."""
        self._paused = False

    def flip(self) -> None:
        """Flip."""
        self._paused = not self._paused

    def paused(self) -> bool:
        """Paused."""
        return self._paused

    def health_check(self) -> tuple[object, bool]:
        """Health."""
        return {}, True

    def shutdown(self) -> None:
        """Shutdown."""

    def set_log_level(self, level: LogLevel) -> None:
        """Set."""
        self._level = level

    def get_log_level(self) -> LogLevel:
        """Get."""
        return self._level


PARTS = (IInfoSource, IPausable, IHealthCheckable, IStopable, ILogLevelSetable)

OURS = (IDrainable, INamedBreakers, ILoggerLevels)
"""Those that the Go backplane has not."""


class InterfaceTests(SynchronousTestCase):
    """The interfaces, and objects that provide them."""

    def test_application(self) -> None:
        """An application with plain methods provides every part, and so does the one for tests."""
        for thing in (Everything(), RecordingApplication()):
            for part in PARTS:
                self.assertTrue(verifyObject(part, thing))

    def test_configuration(self) -> None:
        """The configuration that we ship provides what a configuration must."""
        configuration = StandardConfiguration(name="app", brokers=["broker.example.net:4222"])
        self.assertTrue(verifyObject(IConfigProvider, configuration))

    def test_methods(self) -> None:
        """The methods are those that the Go backplane calls, under Python's names."""
        self.assertEqual(
            {part.__name__: sorted(part.names()) for part in PARTS},
            {
                "IInfoSource": ["fact_data", "version"],
                "IPausable": ["flip", "pause", "paused", "resume"],
                "IHealthCheckable": ["health_check"],
                "IStopable": ["shutdown"],
                "ILogLevelSetable": ["get_log_level", "set_log_level"],
            },
        )

    def test_ours(self) -> None:
        """What Go's has not extends what it has, so that it counts for both."""
        recording, ready = RecordingApplication(), Application(breakers=("payments",))
        for part in OURS:
            for thing in (recording, ready):
                self.assertTrue(verifyObject(part, thing))
            self.assertFalse(part.providedBy(Everything()))
        self.assertEqual(
            {part.__name__: sorted(part.names()) for part in OURS},
            {
                "IDrainable": ["drain", "in_flight"],
                "INamedBreakers": ["breakers"],
                "ILoggerLevels": ["loggers", "restore_log_level", "set_logger_level"],
            },
        )
        self.assertTrue(IDrainable.extends(IPausable))
        self.assertTrue(ILoggerLevels.extends(ILogLevelSetable))
        self.assertFalse(INamedBreakers.extends(IPausable))

    def test_all(self) -> None:
        """Every interface of the module is public and says what it is for."""
        found = {
            name
            for name, value in vars(interfaces).items()
            if isinstance(value, type(Interface)) and value is not Interface
        }
        self.assertEqual(found, {name for name in interfaces.__all__ if name.startswith("I")})
        for name in found:
            part = getattr(interfaces, name)
            self.assertTrue(part.getDoc(), name)
            for method in part.names():
                self.assertTrue(part[method].getDoc(), f"{name}.{method}")


class ValueTests(SynchronousTestCase):
    """Values that an application gets or gives."""

    def test_levels(self) -> None:
        """The levels have the numbers of the Go backplane and their order."""
        self.assertEqual(
            {level.name: int(level) for level in LogLevel},
            {"DEBUG": 1, "INFO": 2, "WARN": 3, "CRITICAL": 4},
        )
        self.assertLess(LogLevel.DEBUG, LogLevel.CRITICAL)

    def test_data_item(self) -> None:
        """An item is a value; where it goes may be left open."""
        item = DataItem(b"x")
        self.assertIsNone(item.destination)
        self.assertEqual(DataItem("x", "acme.iot"), DataItem("x", destination="acme.iot"))
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, item, "data", b"y")

    def test_blocking(self) -> None:
        """The mark leaves a method as it is, and only that method has it."""

        class Slow:
            @blocking
            def version(self) -> str:
                return "1"

            def fact_data(self) -> None:
                pass

        self.assertEqual(Slow().version(), "1")
        mark = "__backplane_blocking__"
        self.assertIs(getattr(Slow().version, mark), True)
        self.assertFalse(hasattr(Slow().fact_data, mark))
