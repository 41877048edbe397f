"""Standard output and standard error as they are: terminal or pipe, colour or not, any encoding.

What remote sides sent is shown escaped: it neither drives the terminal nor
forges lines. A character that the encoding lacks has a plain substitute. A
reader that has gone (``| head -1``) ends the output, not the run.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final, TextIO

from backplane.logs import printable

__all__ = ["Console", "safe"]

MAX_SHOWN: Final = 2000
"""Characters of one remote text that are shown."""

_CHUNKS: Final = 10_000
"""Pieces of a JSON document, a few characters each, that are written together."""

_PLAIN: Final = {
    "✓": "yes",
    "✘": "no",
    "…": "...",
    "→": "->",
    "▖": "|",
    "▘": "/",
    "▝": "-",
    "▗": "\\",
}
_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33"}


def safe(text: object, limit: int = MAX_SHOWN) -> str:
    """Return remote text on one line, escaped, and cut with a mark."""
    return printable(str(text), limit)


class Console:
    """Where a command writes.

    :param out, err: ``None`` for what is closed.
    :param environ: ``NO_COLOR`` and ``TERM`` are looked at.
    :ivar form: in which lists are written; one of :data:`backplane.cli.formats.FORMS`.
    :ivar only: of which answers, one of :data:`backplane.cli.formats.ONLY`, or ``None``.
    :ivar gone: whether standard output leads nowhere any more, as its reader has gone or it
        could not be written; ``lost``: the latter.
    :ivar live: whether progress can be shown on standard error; ``screen``: whether standard
        output is a terminal that can be drawn on.
    """

    def __init__(self, out: TextIO | None, err: TextIO | None, environ: Mapping[str, str]) -> None:
        self._out = out if out is not None else io.StringIO()
        self._err = err if err is not None else io.StringIO()
        plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._colour_out = not plain and _is_terminal(self._out)
        self._colour_err = not plain and _is_terminal(self._err)
        self.live = _is_terminal(self._err) and environ.get("TERM") != "dumb"
        self.screen = _is_terminal(self._out) and environ.get("TERM") != "dumb"
        self._environ = environ
        self.form = "text"
        self.only: str | None = None
        self.gone = self.lost = False
        self._open = 0  # characters of the line that progress has written

    def without_colour(self) -> None:
        """Show no colours from now on, as the configuration says."""
        self._colour_out = self._colour_err = False

    def print(self, text: str = "", colour: str | None = None, before: str = "") -> None:
        """Write a line to standard output; ``before`` comes first and has no colour."""
        self._end_line()
        painted = _painted(text, colour) if self._colour_out else text
        self._write_out(f"{before}{painted}\n")

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and lines of the terminal that standard output is; ``None`` when it is none."""
        if not self.screen:
            return None
        try:
            columns, lines = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            columns = lines = 0
        given = self._environ.get("COLUMNS", "")
        if given.isascii() and given.isdigit():
            columns = int(given)
        return columns or 80, lines or 24

    def draw(self, lines: Sequence[tuple[str, str | None]], *, anew: bool = False) -> None:
        """Draw lines, each with its colour, over what the terminal shows.

        :param anew: take away what was there first.
        """
        self._end_line()
        painted = (_painted(text, colour) if self._colour_out else text for text, colour in lines)
        # Each line over the one before: what is erased first flickers.
        text = "".join(f"{line}\x1b[K\n" for line in painted)
        start = "\x1b[2J\x1b[H" if anew else "\x1b[H"
        self._write_out(f"{start}{text}\x1b[J")

    def print_json(self, value: object) -> None:
        """Write a value as JSON, piece by piece: the text for a large fleet is not held whole."""
        self._end_line()
        chunks = json.JSONEncoder(indent=2).iterencode(value)
        while piece := "".join(islice(chunks, _CHUNKS)):
            self._write_out(piece)
        self._write_out("\n")

    def note(self, text: str, colour: str | None = None) -> None:
        """Write a line to standard error."""
        self._end_line()
        painted = _painted(text, colour) if self._colour_err else text
        self._err = _write(self._err, painted + "\n")

    def progress(self, text: str) -> None:
        """Write text over the present line of the terminal, where there is one."""
        if self.live:
            self._err = _write(self._err, f"\r{text}{' ' * (self._open - len(text))}")
            self._open = len(text)

    def clear(self) -> None:
        """Take away what :meth:`progress` has written last."""
        if self._open:
            self._err = _write(self._err, f"\r{' ' * self._open}\r")
            self._open = 0

    def ask(self, text: str) -> None:
        """Write a question to standard error; the answer comes on the same line."""
        self._end_line()
        self._err = _write(self._err, text)

    def finish(self, text: str) -> None:
        """Write the last state of the progress, on a line of its own."""
        self.clear()
        green = text.replace("✓", "\x1b[32m✓\x1b[0m") if self._colour_err else text
        self._err = _write(self._err, f"{green}\n")

    def flush(self) -> None:
        """Write what is still held, as far as somebody reads it."""
        self._write_out("")
        self._err = _write(self._err, "")

    def _write_out(self, text: str) -> None:
        out, self._out = self._out, _write(self._out, text, self._lost)
        self.gone = self.gone or self._out is not out

    def _lost(self, error: OSError) -> None:
        """Say that output is lost, a full disk for example: nobody chose that."""
        self.lost = True
        self.note(f"backplane: error: standard output: {error.strerror or error}")

    def _end_line(self) -> None:
        if self._open:
            self._open = 0
            self._err = _write(self._err, "\n")


def _painted(text: str, colour: str | None) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and text else text


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False


def _write(
    stream: TextIO, text: str, lost: Callable[[OSError], None] = lambda error: None
) -> TextIO:
    """Write and return the stream, or one that leads nowhere when nobody reads it.

    :param lost: called when it cannot be written for another reason.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        try:
            text.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            text = _encodable(text, encoding)
        stream.write(text)
        stream.flush()
    except (BrokenPipeError, ValueError):
        _silence(stream)
        return io.StringIO()
    except OSError as error:
        lost(error)
        _silence(stream)
        return io.StringIO()
    return stream


def _encodable(text: str, encoding: str) -> str:
    """Return text with substitutes for what the encoding lacks."""
    for char, plain in _PLAIN.items():
        try:
            char.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            text = text.replace(char, plain)
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except (UnicodeError, LookupError):
        return text.encode("ascii", "backslashreplace").decode("ascii")


def _silence(stream: TextIO) -> None:
    """Keep the interpreter from complaining about the stream at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
