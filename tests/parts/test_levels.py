"""Levels of logging: set by operators, shown, put back."""

from __future__ import annotations

import logging
from typing import Any

from twisted.logger import FilteringLogObserver, LogEvent, Logger, LogLevelFilterPredicate
from twisted.logger import LogLevel as TwistedLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.interfaces import ILogLevelSetable, LogLevel
from backplane.parts import LogLevels


class StandardTests(SynchronousTestCase):
    """``logging``."""

    def setUp(self) -> None:
        self.manager = logging.Manager(logging.RootLogger(logging.WARNING))
        self.app = self.manager.getLogger("app")
        self.engine = self.manager.getLogger("sqlalchemy.engine")

    def test_root(self) -> None:
        """By default it is the root logger's, of the program as it is."""
        root = logging.getLogger()
        self.addCleanup(root.setLevel, root.level)
        root.setLevel(logging.ERROR)
        levels = LogLevels()
        verifyObject(ILogLevelSetable, levels)
        levels.set_log_level(LogLevel.DEBUG)
        self.assertEqual((root.level, levels.get_log_level()), (logging.DEBUG, LogLevel.DEBUG))
        levels.restore()
        self.assertEqual(root.level, logging.ERROR)

    def test_names(self) -> None:
        """A logger may be named; it is the one that the program has under that name."""
        logger = logging.getLogger("tests.parts.levels")
        levels = LogLevels("tests.parts.levels")
        levels.set_log_level(LogLevel.CRITICAL)
        self.assertEqual(logger.level, logging.CRITICAL)
        levels.restore()
        self.assertEqual(logger.level, logging.NOTSET)

    def test_all_levels(self) -> None:
        """Every level, by value or by name of the enumeration, and nothing else."""
        levels = LogLevels(self.app)
        shown = []
        for level in LogLevel:
            levels.set_log_level(level)
            shown.append((self.app.level, levels.get_log_level()))
        self.assertEqual(shown, list(zip((10, 20, 30, 50), LogLevel, strict=True)))
        wrong: Any = 7
        self.assertRaises(ValueError, levels.set_log_level, wrong)
        self.assertEqual(self.app.level, 50)

    def test_unset_again(self) -> None:
        """A logger without a level of its own has none afterwards, and follows its parents."""
        levels = LogLevels(self.app, self.engine)
        self.engine.setLevel(25)
        for level in (LogLevel.DEBUG, LogLevel.CRITICAL, LogLevel.INFO):
            levels.set_log_level(level)
        self.assertTrue(levels.changed)
        levels.restore()
        levels.restore()
        self.assertEqual((self.app.level, self.engine.level), (logging.NOTSET, 25))
        self.assertFalse(levels.changed)
        self.manager.root.setLevel(logging.DEBUG)
        self.assertTrue(self.app.isEnabledFor(logging.DEBUG))

    def test_program_sets(self) -> None:
        """What the program has set meanwhile stays, and is what the next change is put back to."""
        levels = LogLevels(self.app, self.engine)
        levels.set_log_level(LogLevel.DEBUG)
        self.app.setLevel(logging.ERROR)
        levels.restore()
        self.assertEqual((self.app.level, self.engine.level), (logging.ERROR, logging.NOTSET))
        levels.set_log_level(LogLevel.DEBUG)
        self.app.setLevel(logging.WARNING)
        levels.set_log_level(LogLevel.INFO)
        levels.restore()
        self.assertEqual((self.app.level, self.engine.level), (logging.WARNING, logging.NOTSET))

    def test_shown(self) -> None:
        """The level in force is shown: inherited ones, ones between, the one that logs most."""
        levels = LogLevels(self.app)
        shown = []
        for number in (0, 1, 10, 11, 20, 21, 30, 31, 40, 50, 60):
            self.manager.root.setLevel(number)
            shown.append(levels.get_log_level().name[0])
        self.assertEqual("".join(shown), "DDDIIWWCCCC")
        self.app.setLevel(logging.INFO)
        self.assertIs(LogLevels(self.engine, self.app).get_log_level(), LogLevel.INFO)

    def test_handlers_left_alone(self) -> None:
        handler = logging.NullHandler(logging.ERROR)
        self.app.addHandler(handler)
        LogLevels(self.app).set_log_level(LogLevel.DEBUG)
        self.assertEqual(handler.level, logging.ERROR)

    def test_handlers(self) -> None:
        """With ``handlers`` all that a logger writes through lets through what it does."""
        own, root, apart, new = (logging.NullHandler(level) for level in (40, 0, 40, 30))
        self.app.addHandler(own)
        self.manager.root.addHandler(root)
        self.engine.addHandler(apart)
        levels = LogLevels(self.app, handlers=True)
        found = []
        for level in (LogLevel.DEBUG, LogLevel.CRITICAL, LogLevel.WARN):
            levels.set_log_level(level)
            found.append((own.level, root.level, apart.level, new.level))
            self.app.addHandler(new)
        # A handler is never stricter than it was.
        self.assertEqual(found, [(10, 0, 40, 30), (40, 0, 40, 30), (30, 0, 40, 30)])
        self.app.removeHandler(own)
        levels.restore()
        self.assertEqual((own.level, root.level, apart.level, new.level), (40, 0, 40, 30))

    def test_no_propagation(self) -> None:
        """Handlers that a logger does not reach are not touched."""
        root = logging.NullHandler(logging.ERROR)
        self.manager.root.addHandler(root)
        self.app.propagate = False
        LogLevels(self.app, handlers=True).set_log_level(LogLevel.DEBUG)
        self.assertEqual(root.level, logging.ERROR)


class TwistedTests(SynchronousTestCase):
    """``twisted.logger``."""

    def setUp(self) -> None:
        self.predicate = LogLevelFilterPredicate(TwistedLevel.warn)
        self.predicate.setLogLevelForNamespace("quiet", TwistedLevel.error)
        self.seen: list[str] = []
        take: Any = self.take
        observer = FilteringLogObserver(take, [self.predicate])
        self.log = Logger(namespace="app", observer=observer)
        self.quiet = Logger(namespace="quiet", observer=observer)

    def take(self, event: LogEvent) -> None:
        self.seen.append(event["log_format"])

    def test_levels(self) -> None:
        """Events pass as they would had the program set the level, and as before afterwards."""
        levels = LogLevels(self.predicate)
        self.assertIs(levels.get_log_level(), LogLevel.WARN)
        self.log.info("1")
        for level in LogLevel:
            levels.set_log_level(level)
            self.assertIs(levels.get_log_level(), level)
            for name in ("debug", "info", "warn", "error", "critical"):
                getattr(self.log, name)(f"{level.name[0]}{name[0]}")
        self.quiet.warn("2")
        levels.restore()
        self.log.info("3")
        self.log.warn("4")
        wanted = "Dd Di Dw De Dc Ii Iw Ie Ic Ww We Wc Cc 4"
        self.assertEqual(self.seen, wanted.split())

    def test_both(self) -> None:
        """Loggers of both kinds together."""
        logger = logging.Manager(logging.RootLogger(logging.INFO)).getLogger("app")
        levels = LogLevels(logger, self.predicate)
        self.assertIs(levels.get_log_level(), LogLevel.INFO)
        levels.set_log_level(LogLevel.CRITICAL)
        self.assertIs(levels.get_log_level(), LogLevel.CRITICAL)
        levels.restore()
        self.assertEqual(
            (logger.level, self.predicate.logLevelForNamespace("")),
            (logging.NOTSET, TwistedLevel.warn),
        )

    def test_error_is_shown_as_critical(self) -> None:
        predicate = LogLevelFilterPredicate(TwistedLevel.error)
        self.assertIs(LogLevels(predicate).get_log_level(), LogLevel.CRITICAL)
