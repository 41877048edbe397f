"""Terminals, pipes, encodings, and readers that have gone."""

from __future__ import annotations

import errno
import io

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.cli.console import Console, safe


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


class Encoded(io.TextIOWrapper):
    """A pipe with an encoding."""

    def __init__(self, encoding: str) -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding=encoding, errors="strict")

    def text(self) -> str:
        return self.raw_bytes.getvalue().decode(self.encoding)


class Broken(io.StringIO):
    """A pipe that nobody reads."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        raise self.error


class SafeTests(SynchronousTestCase):
    """What remote sides sent neither drives the terminal nor forges lines."""

    def test_escaped(self) -> None:
        """Control characters, line ends, direction marks, surrogates."""
        self.assertEqual(
            safe("a\x1b[31m\r\n\tb\x9b\u202e\u2066\u2028\x00\x7f\ud800"),
            r"a\x1b[31m\r\n\tb\x9b\u202e\u2066\u2028\x00\x7f\ud800",
        )
        self.assertEqual(safe("naïve ✓ 漢字"), "naïve ✓ 漢字")

    @given(st.text(alphabet=st.characters(), max_size=80))
    def test_any(self, text: str) -> None:
        """One line, printable, whatever it was."""
        shown = safe(text)
        self.assertTrue(shown.isprintable())
        self.assertEqual(len(shown.splitlines() or [""]), 1)

    def test_long(self) -> None:
        """A megabyte is cut with a mark."""
        shown = safe("x" * 1_000_000)
        self.assertLess(len(shown), 2100)
        self.assertTrue(shown.endswith("… (1000000 characters)"))


class StreamTests(SynchronousTestCase):
    """Streams as they are."""

    def test_pipe(self) -> None:
        """A pipe gets plain lines, no progress."""
        out, err = io.StringIO(), io.StringIO()
        console = Console(out, err, {})
        console.print("one", "red", before="- ")
        console.progress("half")
        console.clear()
        console.finish("Performing ping... ✓ 2 / 2")
        console.note("two", "red")
        self.assertEqual(out.getvalue(), "- one\n")
        self.assertEqual(err.getvalue(), "Performing ping... ✓ 2 / 2\ntwo\n")

    def test_terminal(self) -> None:
        """A terminal gets progress on its last line, and colours."""
        out, err = Terminal(), Terminal()
        console = Console(out, err, {"TERM": "xterm"})
        console.print("bad", "red", before="- ")
        console.progress("long text")
        console.progress("short")
        console.clear()
        console.clear()
        console.finish("✓ 2 / 2")
        console.progress("begun")
        console.note("note")
        self.assertEqual(out.getvalue(), "- \x1b[31mbad\x1b[0m\n")
        self.assertEqual(
            err.getvalue(),
            "\rlong text\rshort    \r     \r\x1b[32m✓\x1b[0m 2 / 2\n\rbegun\nnote\n",
        )

    def test_no_colour(self) -> None:
        """``NO_COLOR``, ``TERM=dumb``, and the configuration turn colours off."""
        for environ, live in (({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False), ({}, True)):
            out, err = Terminal(), Terminal()
            console = Console(out, err, environ)
            if not environ:
                console.without_colour()
            console.print("bad", "red")
            console.note("bad", "red")
            console.finish("✓")
            self.assertEqual((out.getvalue(), err.getvalue()), ("bad\n", "bad\n✓\n"))
            self.assertEqual(console.live, live)
        out = Terminal()
        Console(out, out, {"NO_COLOR": ""}).print("bad", "red")
        self.assertIn("\x1b", out.getvalue())

    def test_encodings(self) -> None:
        """What an encoding lacks has a substitute; what it has stays."""
        for encoding, shown in (
            ("ascii", "yes no ... | caf\\xe9 \\u6f22\n"),
            ("latin-1", "yes no ... | café \\u6f22\n"),
            ("cp1252", "yes no … | café \\u6f22\n"),
            ("utf-8", "✓ ✘ … ▖ café 漢\n"),
        ):
            out = Encoded(encoding)
            Console(out, None, {}).print("✓ ✘ … ▖ café 漢")
            self.assertEqual(out.text(), shown)

    def test_lone_surrogate(self) -> None:
        """Text that no encoding can hold does not stop it."""
        out = Encoded("utf-8")
        Console(out, None, {}).print("a\ud800✓")
        self.assertEqual(out.text(), "a\\ud800✓\n")

    def test_gone(self) -> None:
        """A reader that has gone ends the output, not the run."""
        for error in (BrokenPipeError(), ValueError("closed")):
            out, err = Broken(error), io.StringIO()
            console = Console(out, err, {})
            console.print("one")
            console.print("two")
            console.note("still here")
            console.flush()
            self.assertEqual((out.writes, err.getvalue()), (1, "still here\n"))
            self.assertEqual((console.gone, console.lost), (True, False))

    def test_full(self) -> None:
        """Output that is lost on a full disk is told, once."""
        out, err = Broken(OSError(errno.ENOSPC, "No space left on device")), io.StringIO()
        console = Console(out, err, {})
        console.print("one")
        console.print("two")
        console.flush()
        self.assertEqual(out.writes, 1)
        self.assertEqual(
            err.getvalue(), "backplane: error: standard output: No space left on device\n"
        )
        self.assertEqual((console.gone, console.lost), (True, True))

    def test_closed(self) -> None:
        """No standard streams at all."""
        console = Console(None, None, {})
        console.print("one")
        self.assertFalse(console.gone)
        console.note("two")
        console.flush()
        closed = io.StringIO()
        closed.close()
        Console(closed, closed, {}).print("one")
