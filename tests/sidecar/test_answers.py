"""What outside processes answer, print and write, taken apart."""

from __future__ import annotations

import os
import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import BackplaneError
from backplane.interfaces import LogLevel
from backplane.sidecar.answers import level_from, paused_from, shown, value_from, word_for
from backplane.sidecar.commands import Outcome
from backplane.sidecar.errors import CommandError, ProcessError
from backplane.sidecar.factsfile import parse_facts
from backplane.sidecar.group import how_it_ended
from backplane.sidecar.lines import BURST, MAX_LINE, RATE, Lines
from backplane.sidecar.pidfile import parse_pid
from backplane.sidecar.table import parse_stat, parse_user


class AnswerTests(SynchronousTestCase):
    """Results, words and levels."""

    def test_values(self) -> None:
        """JSON where it is some, else text, else nothing."""
        for data, value in (
            (b'{"a": [1, null]}\n', {"a": [1, None]}),
            (b" 7 ", 7),
            (b"all is well\n", "all is well"),
            (b"{not json", "{not json"),
            (b'{"a": NaN}', '{"a": NaN}'),
            (b"\xff\n", "\ufffd"),
            (b" \n", None),
            (b"[" * 60_000, "[" * 60_000),
        ):
            self.assertEqual(value_from(data), value)
        self.assertEqual(value_from(b"[1, 2", cut=True), "[1, 2…")

    def test_paused(self) -> None:
        """The word decides, and without one the exit code; nothing is guessed."""
        for code, data, paused in (
            (0, b"", True),
            (1, b"\n", False),
            (0, b"paused\n", True),
            (0, b"Running\n", False),
            (1, b"no", False),
            (1, b"true", True),
            (0, b"0", False),
            (0, b'{"paused": false, "queue": 3}', False),
            (0, b'{"paused": true}', True),
        ):
            self.assertEqual((code, data, paused_from(code, data)), (code, data, paused))
        for code, data in (
            (2, b""),
            (-9, b""),
            (127, b"paused"),
            (0, b"well"),
            (0, b"{}"),
            (0, b"null"),
        ):
            self.assertRaises(CommandError, paused_from, code, data)

    def test_levels(self) -> None:
        """The process's own words win, then those that everybody knows."""
        words = {"critical": "SEVERE", "debug": "FINE"}
        self.assertEqual(word_for(LogLevel.CRITICAL, words), "SEVERE")
        self.assertEqual(word_for(LogLevel.WARN, words), "warn")
        for data, level in (
            (b"FINE\n", LogLevel.DEBUG),
            (b"SEVERE", LogLevel.CRITICAL),
            (b"WARNING", LogLevel.WARN),
            (b"error", LogLevel.CRITICAL),
            (b"info", LogLevel.INFO),
        ):
            self.assertEqual(level_from(data, words), level)
        self.assertRaises(CommandError, level_from, b"loud\x1b[2J", {})

    def test_shown(self) -> None:
        """What a program wrote cannot forge lines, drive a terminal or fill the log."""
        self.assertEqual(shown(b" one\r\n\n two \x1b[2J\n"), "one | two \\x1b[2J")
        self.assertTrue(len(shown(b"x" * 10_000_000, 100)) < 150)

    def test_outcome(self) -> None:
        """Whatever is not 0 is an error with the last words."""
        self.assertEqual(Outcome(0, b"x").check().out, b"x")
        error = self.assertRaises(CommandError, Outcome(3, b"", False, b"no queue\n").check)
        self.assertEqual(str(error), "ended with 3: no queue")
        error = self.assertRaises(CommandError, Outcome(-11).check)
        self.assertEqual(str(error), "was ended by SIGSEGV")
        self.assertEqual(how_it_ended(-99), "was ended by signal 99")
        self.assertEqual(how_it_ended(None), "ended, nobody knows how")


class FileTests(SynchronousTestCase):
    """Pid files, facts, and what the system says."""

    def test_pid(self) -> None:
        """The first line is a number, which is neither 1 nor ours."""
        self.assertEqual(parse_pid(b" 1234 \n/var/lib/x\n5432\n"), 1234)
        ours = str(os.getpid()).encode()
        for data in (
            b"",
            b"\n",
            b"app",
            b"-5",
            b"12 13",
            b"0",
            b"1",
            b"0x10",
            b"+5",
            b"1" * 4000,
            ours,
            b"4294967297",
            "٣٤".encode(),
            b"\x00\xff",
            b"1e3",
            b"12.0",
            b"00000000001",
        ):
            self.assertRaises(ProcessError, parse_pid, data)

    @given(st.binary(max_size=60))
    def test_pid_any(self, data: bytes) -> None:
        """Whatever stands there: a number that may be signalled, or our error."""
        try:
            pid = parse_pid(data)
        except ProcessError as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertTrue(1 < pid < 2**31)
            self.assertNotEqual(pid, os.getpid())

    def test_stat(self) -> None:
        """A name with parentheses and blanks hides nothing."""
        tail = b" S 1 2 3" + b" 0" * 15 + b" 777 9 9"
        self.assertEqual(parse_stat(b"5 (a) Z (b)) c)" + tail), ("S", 777))
        self.assertRaises(ValueError, parse_stat, b"5 (a) S 1 2")
        self.assertEqual(parse_user(b"Name:\tx\nUid:\t10\t20\t30\t40\n"), 20)
        self.assertRaises(ValueError, parse_user, b"Name:\tx\n")

    def test_facts(self) -> None:
        """YAML and JSON; mistakes are located, and only a mapping will do."""
        self.assertEqual(parse_facts(b'{"a": {"b": [1]}}', "f"), {"a": {"b": [1]}})
        self.assertEqual(parse_facts(b"a: 1\nb: [x]\n", "f"), {"a": 1, "b": ["x"]})
        for data in (b"", b"[1]", b"a: [", b"a: 1\na: 2", b"\xff\xfe\xff", b"[" * 50_000, b"7"):
            error = self.assertRaises(BackplaneError, parse_facts, data, "facts.yaml")
            self.assertIn("facts.yaml", str(error))


class LineTests(SynchronousTestCase):
    """What a child prints."""

    def setUp(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.missing: list[int] = []
        self.made = Lines(self.lines.append, self.missing.append, lambda: self.now)

    def test_pieces(self) -> None:
        """However it is cut, the lines are the same; the last one needs no end."""
        text = b"one\r\ntwo \xe2\x82\xac\n\nthree"
        rng = random.Random(5)
        for _ in range(50):
            self.setUp()
            rest = text
            while rest:
                size = rng.randint(1, 6)
                self.made.received(rest[:size])
                rest = rest[size:]
            self.made.close()
            self.assertEqual(self.lines, ["one", "two €", "", "three"])

    def test_long(self) -> None:
        """A line without end is cut, and kept no longer than it is shown."""
        for _ in range(100):
            self.made.received(b"x" * 65536)
        self.made.received(b"\nnext\n")
        self.assertTrue(self.lines[0].startswith("x" * MAX_LINE))
        self.assertTrue(len(self.lines[0]) < MAX_LINE + 40)
        self.assertEqual(self.lines[1:], ["next"])

    def test_flood(self) -> None:
        """A burst, then so many a second; what was left out is told with the next line."""
        self.made.received(b"line\n" * (BURST + 500))
        self.assertEqual((len(self.lines), self.missing), (BURST, []))
        self.now += 1
        self.made.received(b"line\n" * 100)
        self.assertEqual((len(self.lines), self.missing), (BURST + int(RATE), [500]))
        self.now -= 1000  # a clock that is set back gives nothing
        self.made.received(b"line\n")
        self.made.close()
        self.assertEqual((len(self.lines), self.missing), (BURST + int(RATE), [500, 81]))

    def test_control(self) -> None:
        """Escape sequences do not reach the log."""
        self.made.received(b"\x1b[2J\x00evil\n")
        self.assertEqual(self.lines, ["\\x1b[2J\\x00evil"])
