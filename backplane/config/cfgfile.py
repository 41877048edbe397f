"""Choria's ``key = value`` files, which clients are configured with.

What Choria passes over in silence is reported here: each line that has no
effect, or another than it seems to have, gives a warning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import Final

import attrs

__all__ = ["MAX_LINE", "Line", "SettingsReader"]

MAX_LINE: Final = 64 * 1024 - 1
"""Longest line, in bytes; at a longer one Choria stops reading the file."""


@attrs.frozen
class Line:
    """One setting: where it stands and its text."""

    value: str
    path: str
    number: int


class SettingsReader:
    """Reads files into settings.

    :param read: returns a file's content, or raises :exc:`OSError`.
    :param options: those that mean something.
    :ivar known: by option, the lines that set something, in order.
    :ivar raw: every option as text; later lines win.
    :ivar warnings: one sentence for each line that does not do what it seems to do.
    :ivar files: the files that were read, in order.
    """

    def __init__(self, read: Callable[[str], bytes], options: Collection[str]) -> None:
        self._read = read
        self._options = options
        self.known: dict[str, list[Line]] = {}
        self.raw: dict[str, str] = {}
        self.warnings: list[str] = []
        self.files: list[str] = []

    def main(self, path: str) -> None:
        """Read the file itself; :raises OSError: when that fails."""
        self._lines(path, "", True)

    def plugins(self, folder: str, listdir: Callable[[str], Iterable[str]]) -> None:
        """Read the ``.cfg`` files of ``plugin.d``."""
        try:
            names = sorted(listdir(folder))
        except (OSError, ValueError):
            return
        for name in names:
            path = os.path.join(folder, name)
            stem, extension = os.path.splitext(name)
            if extension == ".conf":
                self._warn(path, None, "is not read; in plugin.d only .cfg files are")
            elif extension == ".cfg":
                known = stem == "choria"
                if self._optional(path, f"plugin.{stem}.", known) and not known:
                    self._warn(path, None, "sets no known option; only plugin.d/choria.cfg does")

    def projects(self, cwd: str) -> None:
        """Read ``choria.conf`` from the root down to ``cwd``."""
        folders = [os.path.abspath(cwd)]
        while folders[-1] != os.path.dirname(folders[-1]):
            folders.append(os.path.dirname(folders[-1]))
        for folder in reversed(folders):
            self._optional(os.path.join(folder, "choria.conf"), "", True)

    def _optional(self, path: str, prefix: str, known: bool) -> bool:
        try:
            return self._lines(path, prefix, known)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._warn(path, None, f"cannot be read ({reason})")
            return False

    def _lines(self, path: str, prefix: str, known: bool) -> bool:
        """Read a file and say whether it has a setting that Choria knows."""
        data = self._read(path)
        self.files.append(path)
        found = False
        for number, raw_line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if len(raw_line) > MAX_LINE:
                self._warn(path, number, "is longer than 64 KiB; the rest of the file is not read")
                break
            line = raw_line.decode("utf-8", "replace").strip()
            if not line or line.startswith("#"):
                continue
            # A key has at least one character, which may be "=".
            split = line.find("=", 1)
            key, value = line[:split].strip(), line[split + 1 :].strip()
            if split < 0 or not key:
                self._warn(path, number, "has no effect: it is not of the form key = value")
                continue
            if not value:
                self._warn(path, number, f"has no effect: {key[:60]} has no value")
                continue
            if " #" in value or "\t#" in value:
                self._warn(path, number, "has no comment: what follows # belongs to the value")
            if "\ufffd" in line:
                self._warn(path, number, "is not UTF-8; what is not was replaced")
            key = prefix + key
            self.raw[key] = value
            found = found or key in self._options
            if known:
                self.known.setdefault(key, []).append(Line(value, path, number))
        return found

    def _warn(self, path: str, number: int | None, text: str) -> None:
        place = path if number is None else f"{path}:{number}"
        self.warnings.append(f"{place}: {text}")
