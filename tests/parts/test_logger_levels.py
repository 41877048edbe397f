"""Levels of single loggers: set, listed, and put back exactly."""

from __future__ import annotations

import logging
import random
from typing import Any

from twisted.logger import FilteringLogObserver, LogEvent, Logger, LogLevelFilterPredicate
from twisted.logger import LogLevel as TwistedLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.interfaces import ILoggerLevels, LogLevel
from backplane.parts import LogLevels

DEBUG, INFO, WARN, CRITICAL = LogLevel


class LoggerCase(SynchronousTestCase):
    """A tree of loggers of their own."""

    def setUp(self) -> None:
        self.manager = logging.Manager(logging.RootLogger(logging.WARNING))
        self.app = self.manager.getLogger("app")
        self.engine = self.manager.getLogger("sqlalchemy.engine")
        self.levels = LogLevels(self.app)

    def state(self) -> dict[str, int]:
        """Return the level of every logger that there is."""
        loggers = self.manager.loggerDict.items()
        found = {name: each.level for name, each in loggers if isinstance(each, logging.Logger)}
        return {"root": self.manager.root.level, **found}


class ListedTests(LoggerCase):
    """What loggers there are."""

    def test_levels(self) -> None:
        """Own levels and those in force; ones between are shown as the next."""
        verifyObject(ILoggerLevels, self.levels)
        self.engine.setLevel(logging.ERROR)
        self.manager.getLogger("sqlalchemy.engine.Engine")
        self.manager.getLogger("app.trace").setLevel(5)
        self.assertEqual(
            self.levels.loggers(),
            {
                "root": (WARN, WARN),
                "app": (None, WARN),
                "app.trace": (DEBUG, DEBUG),
                "sqlalchemy.engine": (CRITICAL, CRITICAL),
                "sqlalchemy.engine.Engine": (None, CRITICAL),
            },
        )

    def test_none_is_made(self) -> None:
        """Listing makes no logger: not for parents that nobody has asked for, either."""
        before = dict(self.manager.loggerDict)
        self.assertNotIn("sqlalchemy", self.levels.loggers())
        self.assertEqual(self.manager.loggerDict, before)
        self.levels.set_logger_level("never.seen", None)
        self.assertEqual(self.manager.loggerDict, before)

    def test_program(self) -> None:
        """By default they are those of the program."""
        logging.getLogger("tests.parts.logger_levels")
        found = LogLevels().loggers()
        self.assertEqual(found["tests.parts.logger_levels"][0], None)
        self.assertIn("root", found)


class SetTests(LoggerCase):
    """One logger is set."""

    def test_alone(self) -> None:
        """The others are as they were, and it is put back, levels that it never had too."""
        before = self.state()
        self.levels.set_logger_level("sqlalchemy.engine", DEBUG)
        self.assertEqual(self.state(), {**before, "sqlalchemy.engine": logging.DEBUG})
        self.assertEqual(self.levels.loggers()["sqlalchemy.engine"], (DEBUG, DEBUG))
        self.assertEqual(self.levels.get_log_level(), WARN)
        self.assertTrue(self.levels.changed)
        self.levels.set_logger_level("sqlalchemy.engine", INFO)
        self.levels.set_logger_level("sqlalchemy.engine", None)
        self.assertEqual(self.state(), before)
        self.assertFalse(self.levels.changed)
        self.manager.root.setLevel(logging.DEBUG)
        self.assertTrue(self.engine.isEnabledFor(logging.DEBUG))

    def test_exactly(self) -> None:
        """Numbers between the four come back as they were."""
        for number in (logging.NOTSET, 1, 25, logging.ERROR, 99):
            self.engine.setLevel(number)
            for level in (CRITICAL, DEBUG):
                self.levels.set_logger_level("sqlalchemy.engine", level)
            self.levels.set_logger_level("sqlalchemy.engine", None)
            self.assertEqual(self.engine.level, number)

    def test_made(self) -> None:
        """A logger that the program has not made yet is made, and has no level afterwards."""
        self.levels.set_logger_level("later.on", DEBUG)
        self.assertEqual(self.manager.getLogger("later.on").level, logging.DEBUG)
        self.levels.set_logger_level("later.on", None)
        self.assertEqual(self.levels.loggers()["later.on"], (None, WARN))

    def test_root(self) -> None:
        """The root logger has a name, which is no logger below it."""
        self.levels.set_logger_level("root", DEBUG)
        self.assertEqual(self.manager.root.level, logging.DEBUG)
        self.assertNotIn("root", self.manager.loggerDict)
        self.levels.set_logger_level("root", None)
        self.assertEqual(self.manager.root.level, logging.WARNING)

    def test_program_sets(self) -> None:
        """What the program sets meanwhile stays."""
        self.levels.set_logger_level("app", DEBUG)
        self.app.setLevel(logging.ERROR)
        self.levels.set_logger_level("app", None)
        self.assertEqual(self.app.level, logging.ERROR)
        self.levels.set_logger_level("app", INFO)
        self.levels.set_logger_level("app", None)
        self.assertEqual(self.app.level, logging.ERROR)

    def test_refused(self) -> None:
        """No level, no name: nothing happens."""
        before = self.state()
        wrong: Any = 7
        self.assertRaises(ValueError, self.levels.set_logger_level, "app", wrong)
        self.levels.set_log_level(DEBUG)
        names: tuple[Any, ...] = ("", "x" * 201, "a\nb", "a\x00", None, 7)
        for name in names:
            for level in (INFO, None):
                self.assertRaises(ValueError, self.levels.set_logger_level, name, level)
        self.assertEqual(self.app.level, logging.DEBUG)
        self.levels.restore_log_level()
        self.assertEqual(self.state(), before)


class WholeTests(LoggerCase):
    """All of them and single ones, one over the other."""

    def test_apart(self) -> None:
        """Putting the whole back leaves a logger that was set by itself, and the other way."""
        before = self.state()
        self.levels.set_log_level(DEBUG)
        self.levels.set_logger_level("sqlalchemy.engine", INFO)
        self.levels.set_log_level(CRITICAL)
        self.levels.restore_log_level()
        self.levels.restore_log_level()
        self.assertEqual(self.state(), {**before, "sqlalchemy.engine": logging.INFO})
        self.levels.set_log_level(INFO)
        self.levels.set_logger_level("sqlalchemy.engine", None)
        self.assertEqual(self.state(), {**before, "app": logging.INFO})
        self.levels.restore_log_level()
        self.assertEqual(self.state(), before)

    def test_same_logger(self) -> None:
        """The one that was set last decides; the other shows again when that is put back."""
        self.app.setLevel(25)
        self.levels.set_log_level(DEBUG)
        self.levels.set_logger_level("app", CRITICAL)
        self.assertEqual(self.app.level, logging.CRITICAL)
        self.levels.set_logger_level("app", None)
        self.assertEqual(self.app.level, logging.DEBUG)
        self.levels.set_logger_level("app", CRITICAL)
        self.levels.set_log_level(INFO)
        self.assertEqual(self.app.level, logging.INFO)
        self.levels.restore_log_level()
        self.assertEqual(self.app.level, logging.CRITICAL)
        self.levels.set_logger_level("app", None)
        self.assertEqual(self.app.level, 25)

    def test_restore(self) -> None:
        """``restore`` puts back everything that there is."""
        before = self.state()
        self.levels.set_log_level(DEBUG)
        self.levels.set_logger_level("sqlalchemy.engine", INFO)
        self.levels.set_logger_level("app", INFO)
        self.levels.restore()
        self.assertEqual(self.state(), before)
        self.levels.restore_log_level()
        self.levels.set_logger_level("app", None)
        self.assertEqual(self.state(), before)

    def test_any_order(self) -> None:
        """However changes are nested, after all have ended the program's levels are back."""
        rng = random.Random(7)
        names = ("app", "sqlalchemy.engine", "root")
        for _ in range(200):
            for name in names[:2]:
                self.manager.getLogger(name).setLevel(rng.choice((0, 5, 20, 25, 40)))
            before = self.state()
            levels = LogLevels(self.app, self.engine, handlers=rng.random() < 0.5)
            for _ in range(rng.randrange(12)):
                name, level = rng.choice(("", *names)), rng.choice((*LogLevel, None))
                if name:
                    levels.set_logger_level(name, level)
                elif level is None:
                    levels.restore_log_level()
                else:
                    levels.set_log_level(level)
            for name in rng.sample(("", *names), 4):
                if name:
                    levels.set_logger_level(name, None)
                else:
                    levels.restore_log_level()
            self.assertEqual(self.state(), before)
            self.assertFalse(levels.changed)

    def test_handlers(self) -> None:
        """With ``handlers`` what a single logger writes is let through as long as it is set."""
        root, own = logging.NullHandler(logging.ERROR), logging.NullHandler(logging.INFO)
        self.manager.root.addHandler(root)
        self.app.addHandler(own)
        levels = LogLevels(self.app, handlers=True)
        levels.set_logger_level("sqlalchemy.engine", DEBUG)
        self.assertEqual((root.level, own.level), (logging.DEBUG, logging.INFO))
        levels.set_log_level(INFO)
        levels.set_logger_level("sqlalchemy.engine", None)
        self.assertEqual((root.level, own.level), (logging.INFO, logging.INFO))
        levels.restore_log_level()
        self.assertEqual((root.level, own.level), (logging.ERROR, logging.INFO))
        self.assertFalse(levels.changed)


class NamespaceTests(SynchronousTestCase):
    """``twisted.logger`` has namespaces, whose levels are in a predicate."""

    def setUp(self) -> None:
        self.predicate = LogLevelFilterPredicate(TwistedLevel.warn)
        self.predicate.setLogLevelForNamespace("quiet", TwistedLevel.error)
        self.levels = LogLevels(self.predicate)
        self.seen: list[str] = []
        take: Any = self.take
        self.observer = FilteringLogObserver(take, [self.predicate])

    def take(self, event: LogEvent) -> None:
        self.seen.append(event["log_namespace"])

    def emitted(self) -> str:
        """Return which namespaces log an event of the level ``info``."""
        self.seen.clear()
        for name in ("app", "quiet", "shop.orders"):
            Logger(namespace=name, observer=self.observer).info("hello")
        return " ".join(self.seen)

    def test_listed(self) -> None:
        self.assertEqual(
            self.levels.loggers(), {"root": (WARN, WARN), "quiet": (CRITICAL, CRITICAL)}
        )

    def test_set(self) -> None:
        """One namespace, and those below it; afterwards there is no trace of it."""
        self.assertEqual(self.emitted(), "")
        self.levels.set_logger_level("shop", INFO)
        self.assertEqual(self.emitted(), "shop.orders")
        self.assertEqual(self.levels.loggers()["shop"], (INFO, INFO))
        self.levels.set_logger_level("shop", None)
        self.assertEqual(self.emitted(), "")
        self.assertNotIn("shop", self.levels.loggers())
        self.predicate.setLogLevelForNamespace("", TwistedLevel.debug)
        self.assertEqual(self.emitted(), "app shop.orders")

    def test_own(self) -> None:
        """A level that the program has given comes back."""
        self.levels.set_logger_level("quiet", DEBUG)
        self.levels.set_log_level(CRITICAL)
        self.assertEqual(self.emitted(), "quiet")
        self.levels.set_logger_level("quiet", None)
        self.levels.restore_log_level()
        self.assertIs(self.predicate.logLevelForNamespace("quiet"), TwistedLevel.error)
        self.assertIs(self.predicate.logLevelForNamespace(""), TwistedLevel.warn)

    def test_both(self) -> None:
        """A name is set in both worlds; what logs most is shown; ``root`` is the default."""
        manager = logging.Manager(logging.RootLogger(logging.ERROR))
        shop, quiet = manager.getLogger("shop"), manager.getLogger("quiet")
        levels = LogLevels(shop, self.predicate)
        self.assertEqual(levels.loggers()["root"], (WARN, WARN))
        self.assertEqual(levels.loggers()["quiet"], (CRITICAL, CRITICAL))
        levels.set_logger_level("quiet", DEBUG)
        self.assertEqual(quiet.level, logging.DEBUG)
        self.assertEqual(levels.loggers()["quiet"], (DEBUG, DEBUG))
        self.assertEqual(self.emitted(), "quiet")
        levels.set_logger_level("root", INFO)
        self.assertEqual(self.emitted(), "app quiet shop.orders")
        levels.restore()
        self.assertEqual((quiet.level, manager.root.level), (logging.NOTSET, logging.ERROR))
        self.assertEqual(self.emitted(), "")
