"""The backplane's own log: where lines go, which, and that nobody can forge one."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.logger import LogLevel as TwistedLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from backplane.logs import LEVELS, MAX_LINE, LogFile, ManagementLog, json_line, printable


@implementer(ILogObserver)
class Events(list[LogEvent]):
    """Keeps what it observes."""

    def __call__(self, event: LogEvent) -> None:
        self.append(event)


def texts(path: str) -> list[str]:
    """Return the messages of a log file."""
    lines = Path(path).read_text(encoding="ascii").splitlines()
    return [json.loads(line)["message"] for line in lines]


class PrintableTests(SynchronousTestCase):
    """Text of strangers, made fit for a line."""

    def test_plain(self) -> None:
        """Readable text of any script stays as it is."""
        for text in ("", "choria=sre.choria", "é ß 日本語 😀", "C:\\dir", "a'b\"c"):
            self.assertEqual(printable(text), text)

    def test_escaped(self) -> None:
        """What ends a line, drives a terminal or turns text around is shown as its escape."""
        for text, shown in (
            ("a\nb\r\n", "a\\nb\\r\\n"),
            ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("\x9b2J\x85\x7f\0\t", "\\x9b2J\\x85\\x7f\\x00\\t"),
            ("\u202eevil\u202c", "\\u202eevil\\u202c"),
            ("\u2066x\u2069\u200f\u061c", "\\u2066x\\u2069\\u200f\\u061c"),
            ("\u2028\u2029\u200b\ufeff\xa0", "\\u2028\\u2029\\u200b\\ufeff\\xa0"),
            ("\ud800\U000e0001", "\\ud800\\U000e0001"),
        ):
            self.assertEqual(printable(text), shown)

    def test_limit(self) -> None:
        """A text at the limit is whole; a longer one is cut and says how long it was."""
        self.assertEqual(printable("x" * 200), "x" * 200)
        self.assertEqual(printable("x" * 201), "x" * 200 + "… (201 characters)")
        self.assertEqual(printable("abc", limit=2), "ab… (3 characters)")
        self.assertEqual(printable("\x1b" * 2**20), "\\x1b" * 200 + f"… ({2**20} characters)")

    @settings(deadline=None)
    @given(st.text(max_size=300))
    def test_anything(self, text: str) -> None:
        """The result is always printable, on one line, and bounded."""
        shown = printable(text)
        self.assertTrue(shown.isprintable())
        self.assertLess(len(shown), 10 * 200 + 40)


class LogFileTests(SynchronousTestCase):
    """One file, rotated by others while we write."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.errors: list[OSError] = []
        self.file = LogFile(self.path, self.errors.append)
        self.addCleanup(self.file.close)

    def read(self, path: str | None = None) -> str:
        """Return what stands in a file."""
        return Path(path or self.path).read_text(encoding="utf-8")

    def test_append(self) -> None:
        """What stood in the file stays; lines follow it at once."""
        Path(self.path).write_text("before\n", encoding="utf-8")
        self.assertTrue(self.file.write("one"))
        self.assertEqual(self.read(), "before\none\n")
        self.file.close()
        self.assertTrue(self.file.write("é\ud800"))
        self.assertEqual(self.read(), "before\none\né\\ud800\n")

    def test_mode(self) -> None:
        """Others cannot read the file."""
        self.file.open()
        self.assertEqual(os.stat(self.path).st_mode & 0o137, 0)

    def test_renamed(self) -> None:
        """After a rename the next line is in a new file."""
        self.file.write("one")
        os.rename(self.path, self.path + ".1")
        self.file.write("two")
        self.assertEqual((self.read(self.path + ".1"), self.read()), ("one\n", "two\n"))

    def test_replaced(self) -> None:
        """After a rename with another file made in its place, the line is in that one."""
        self.file.write("one")
        os.rename(self.path, self.path + ".1")
        Path(self.path).write_text("made by logrotate\n", encoding="utf-8")
        self.file.write("two")
        self.assertEqual(self.read(self.path + ".1"), "one\n")
        self.assertEqual(self.read(), "made by logrotate\ntwo\n")

    def test_deleted(self) -> None:
        """After a deletion the next line makes the file again."""
        self.file.write("one")
        os.remove(self.path)
        self.file.write("two")
        self.assertEqual(self.read(), "two\n")

    def test_copied_and_truncated(self) -> None:
        """After copy and truncate lines begin at the start of the file, without a gap."""
        self.file.write("one")
        shutil.copy(self.path, self.path + ".1")
        os.truncate(self.path, 0)
        self.file.write("two")
        self.assertEqual((self.read(self.path + ".1"), self.read()), ("one\n", "two\n"))

    def test_whole_lines(self) -> None:
        """Two writers of one file never mix their lines, long ones included: one write each."""
        other = LogFile(self.path)
        self.addCleanup(other.close)
        sizes = []

        class Counting:
            def __init__(self, descriptor: int) -> None:
                self.descriptor = descriptor

            def write(self, data: bytes) -> int:
                sizes.append(len(data))
                return os.write(self.descriptor, data)

            def close(self) -> None:
                os.close(self.descriptor)

        def opened(descriptor: int, *args: Any, **named: Any) -> Counting:
            return Counting(descriptor)

        self.patch(os, "fdopen", opened)
        for number in range(3):
            self.assertTrue(self.file.write(f"a{number}" * 20_000))
            self.assertTrue(other.write(f"b{number}" * 20_000))
        self.assertEqual(sizes, [40_001] * 6)
        lines = self.read().splitlines()
        self.assertEqual([line[:2] for line in lines], ["a0", "b0", "a1", "b1", "a2", "b2"])

    def test_cannot_be_opened(self) -> None:
        """A folder that is missing is told once; when it is there again, lines are written."""
        folder = os.path.abspath(self.mktemp())
        file = LogFile(os.path.join(folder, "log"), self.errors.append)
        self.addCleanup(file.close)
        self.assertFalse(file.write("one"))
        self.assertFalse(file.write("two"))
        self.assertEqual([error.errno for error in self.errors], [errno.ENOENT])
        os.mkdir(folder)
        self.assertTrue(file.write("three"))
        self.assertEqual(self.read(file.path), "three\n")
        file.close()
        shutil.rmtree(folder)
        self.assertFalse(file.write("four"))
        self.assertEqual(len(self.errors), 2)
        self.assertRaises(OSError, file.open)

    def test_disk_full(self) -> None:
        """A line that the disk refuses, or takes in part, is reported and not written later."""
        taken: list[bytes] = []
        full = True

        class Disk:
            def write(self, data: bytes) -> int:
                if full:
                    raise OSError(errno.ENOSPC, "No space left on device")
                taken.append(data)
                return len(data) if data != b"short\n" else 2

            def close(self) -> None:
                raise OSError(errno.EIO, "cannot be closed")

        def opened(descriptor: int, *args: Any, **named: Any) -> Disk:
            os.close(descriptor)
            return Disk()

        self.patch(os, "fdopen", lambda descriptor, *args, **named: Disk())
        descriptors: list[int] = []
        real_open = os.open

        def remembered(*args: Any) -> int:
            descriptors.append(real_open(*args))
            return descriptors[-1]

        self.patch(os, "open", remembered)
        self.addCleanup(lambda: [*map(os.close, descriptors)])
        self.assertFalse(self.file.write("one"))
        self.assertFalse(self.file.write("two"))
        full = False
        self.assertTrue(self.file.write("three"))
        self.assertFalse(self.file.write("short"))
        self.assertEqual(taken, [b"three\n", b"short\n"])
        self.assertEqual([error.errno for error in self.errors], [errno.ENOSPC] * 2)
        self.file.close()  # says nothing of what the disk says


class ManagementLogTests(SynchronousTestCase):
    """The log of one management."""

    def setUp(self) -> None:
        self.host = Events()
        self.path = os.path.abspath(self.mktemp())

    def log(self, level: str = "debug", path: str | None = None) -> ManagementLog:
        """Return a log whose host is a list."""
        log = ManagementLog(level, path, self.host)
        self.addCleanup(log.close)
        return log

    def test_observer(self) -> None:
        """It is an observer as Twisted knows them."""
        self.assertTrue(verifyObject(ILogObserver, self.log()))

    def test_levels(self) -> None:
        """Each configured word lets its level and the graver ones through."""
        order = ["debug", "info", "warn", "error", "critical"]
        for word, least in LEVELS.items():
            self.host.clear()
            logger = self.log(word).logger("backplane.x")
            for level in order:
                logger.emit(TwistedLevel.lookupByName(level), "{n}", n=level)
            wanted = order[order.index(least.name) :]
            self.assertEqual([event["n"] for event in self.host], wanted, word)
        self.assertEqual(
            {LEVELS["warning"], LEVELS["fatal"]}, {TwistedLevel.warn, TwistedLevel.critical}
        )
        self.assertRaises(KeyError, ManagementLog, "verbose")

    def test_file(self) -> None:
        """With a file, lines are in it as JSON, and the host hears nothing."""
        log = self.log("info", self.path)
        log.open()
        log.logger("backplane.node").info("dropped {count}, {why!r}", count=3, why="a\nb")
        log.logger("backplane.node").debug("unseen")
        (line,) = Path(self.path).read_text(encoding="ascii").splitlines()
        found = json.loads(line)
        self.assertRegex(found.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertEqual(
            found,
            {"level": "info", "namespace": "backplane.node", "message": "dropped 3, 'a\\nb'"},
        )
        self.assertEqual(self.host, [])

    def test_output(self) -> None:
        """What others print goes the same way, whatever the level."""
        self.log("critical").output("backplane.x").debug("printed")
        self.assertEqual([event["log_namespace"] for event in self.host], ["backplane.x"])
        log = self.log("critical", self.path)
        log.open()
        log.output("backplane.x").debug("printed")
        self.assertEqual(json.loads(Path(self.path).read_text())["message"], "printed")
        self.assertEqual(len(self.host), 1)

    def test_rotated(self) -> None:
        """Rotation loses no line."""
        log = self.log("info", self.path)
        logger = log.logger("backplane.x")
        logger.info("one")
        os.rename(self.path, self.path + ".1")
        logger.info("two")
        self.assertEqual((texts(self.path + ".1"), texts(self.path)), (["one"], ["two"]))

    def test_file_fails(self) -> None:
        """What cannot be written goes to the host, with one complaint about the file."""
        log = self.log("info", os.path.join(self.path, "missing", "log"))
        self.assertRaises(OSError, log.open)
        logger = log.logger("backplane.x")
        logger.info("one")
        logger.info("two")
        self.assertEqual(
            [event["log_format"].split(":")[0] for event in self.host],
            ["cannot write the log file", "one", "two"],
        )

    def test_host_untouched(self) -> None:
        """Logs are made, used and closed, and the host's log has the observers that it had."""
        before = list(globalLogPublisher._observers)
        seen = Events()
        globalLogPublisher.addObserver(seen)
        self.addCleanup(globalLogPublisher.removeObserver, seen)
        filed = ManagementLog("debug", self.path)
        self.addCleanup(filed.close)
        filed.open()
        filed.logger("backplane.x").info("into the file")
        plain = ManagementLog("debug")
        plain.open()
        plain.logger("backplane.x").info("to the host")
        plain.close()
        messages = [event["log_format"] for event in seen]
        self.assertEqual(messages, ["to the host"])
        self.assertEqual(globalLogPublisher._observers, [*before, seen])

    def test_two(self) -> None:
        """Two managements of one process log apart, each with its level."""
        other = os.path.abspath(self.mktemp())
        one, two = self.log("warn", self.path), self.log("debug", other)
        for log in (one, two):
            log.logger("backplane.x").info("{name}", name=log.level.name)
            log.logger("backplane.x").error("e")
        self.assertEqual((texts(self.path), texts(other)), (["e"], ["debug", "e"]))


class JsonLineTests(SynchronousTestCase):
    """One event, one line."""

    def event(self, format: str, **named: Any) -> LogEvent:
        """Return an event as a logger makes it."""
        found = Events()
        Logger(namespace="backplane.x", observer=found).info(format, **named)
        found[0]["log_time"] = 1535106973.25
        return found[0]

    def test_fields(self) -> None:
        """Time in UTC, level, namespace, message."""
        self.assertEqual(
            json.loads(json_line(self.event("n {n}", n=1))),
            {
                "time": "2018-08-24T10:36:13.250+00:00",
                "level": "info",
                "namespace": "backplane.x",
                "message": "n 1",
            },
        )

    def test_forged(self) -> None:
        """Whatever a field holds, the event is one line of ASCII."""
        evil = 'x"}\n{"level":"critical"}\r\x1b[2J\u202e\ud800\0 é'
        line = json_line(self.event("from {who}", who=evil))
        self.assertTrue(line.isascii() and line.isprintable(), line)
        self.assertEqual(json.loads(line)["message"], f"from {evil}")

    def test_format_in_field(self) -> None:
        """A field is data and never a format."""
        line = json_line(self.event("from {who}", who="{log_logger} {who}"))
        self.assertEqual(json.loads(line)["message"], "from {log_logger} {who}")

    def test_long(self) -> None:
        """A message at the bound is whole, a longer one is cut."""
        for size, wanted in ((MAX_LINE, MAX_LINE), (MAX_LINE + 1, MAX_LINE + 1)):
            message = json.loads(json_line(self.event("{text}", text="x" * size)))["message"]
            self.assertEqual(len(message), wanted)
            self.assertEqual(message.endswith("…"), size > MAX_LINE)
        self.assertLess(len(json_line(self.event("{text}", text="\x1b" * 2**20))), 7 * MAX_LINE)

    def test_failure(self) -> None:
        """A failure's traceback is in the line, without the values of its variables."""

        def fails() -> None:
            secret = "hunter2" * 2
            raise ValueError(len(secret))

        try:
            fails()
        except ValueError:
            event = self.event("bad", log_failure=Failure())
        found = json.loads(json_line(event))
        self.assertIn("ValueError: 14", found["traceback"])
        self.assertIn("in fails", found["traceback"])
        self.assertNotIn("hunter2hunter2", found["traceback"])
