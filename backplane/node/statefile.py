"""What a node must not forget when it is started anew: records in one file.

The first line says of which boot of the machine it is; each further line is one
record, a JSON object. A record is in the file before what it tells of is done, so
a process that is killed has forgotten nothing. A machine that loses its power may
have: then, and when the file is damaged or new, :attr:`StateFile.continues` is false.

The file is replaced as a whole by renaming. Beside ``state`` lies ``.state.lock``,
which keeps a second process out.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, Final

from backplane.errors import LocalError
from backplane.security.locking import Locked, take_lock
from backplane.security.regular import open_regular

__all__ = ["StateFile", "StateFileError"]

MAX_SIZE: Final = 256 * 1024 * 1024
"""Bytes of a file that is read; one with all that a node remembers has some megabytes."""

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"

Record = dict[str, Any]


class StateFileError(LocalError):
    """The state file cannot be used: not writable, not ours, or somebody else's."""


class StateFile:
    """The file; all of it belongs to one thread.

    :param path: absolute path.
    :param report: told what an administrator must know.
    :param boot: what names this boot of the machine; ``None`` when nothing does.
    :ivar continues: whether the file had all records of the process before us.
    :ivar lines: records in it.
    """

    def __init__(
        self, path: str, report: Callable[[str], None], boot: Callable[[], str | None] | None = None
    ) -> None:
        self.path = path
        self.continues = False
        self.lines = 0
        folder, name = os.path.split(path)
        self._lock_path = os.path.join(folder, f".{name}.lock")
        self._report = report
        self._boot = (boot or _boot_id)()
        self._lock: int | None = None
        self._file: int | None = None
        self._owner = 0

    def open(self) -> list[Record]:
        """Take the file; return its records, oldest first.

        Nothing is written before :meth:`rewrite`.

        :raises StateFileError: when it cannot be used.
        """
        try:
            self._lock = take_lock(self._lock_path)
            self._owner = os.getpid()
            records = self._read()
        except Locked as error:
            self.close()
            raise StateFileError(f"state file {self.path}: {error}") from None
        except StateFileError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StateFileError(f"state file {self.path}: {error.strerror or error}") from None
        self.lines = len(records)
        return records

    @property
    def is_open(self) -> bool:
        """Whether this process may write to it."""
        return self._file is not None and os.getpid() == self._owner

    def append(self, record: Record) -> None:
        """Write one record.

        :raises OSError: when it is not in the file.
        """
        if self._file is None or not self.is_open:
            raise OSError("it is not open in this process")
        line = _line(record)
        written = os.write(self._file, line)
        if written < len(line):
            raise OSError("the record was cut short")
        self.lines += 1

    def rewrite(self, records: Iterable[Record]) -> None:
        """Replace all records.

        :raises OSError: when the file could not be replaced; the old one is there still.
        """
        header = {"backplane": "state", "version": 1, "boot": self._boot}
        lines = [_line(header), *map(_line, records)]
        folder, name = os.path.split(self.path)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.writelines(lines)
            os.fsync(descriptor)
            os.replace(temporary, self.path)
        except BaseException:
            os.close(descriptor)
            os.unlink(temporary)
            raise
        self._close_file()
        self._file = descriptor
        self.lines = len(lines) - 1

    def discard(self) -> None:
        """Delete the file: what is in it is not all any more.

        :raises OSError: when it cannot be deleted.
        """
        self._close_file()
        os.unlink(self.path)

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._close_file()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _read(self) -> list[Record]:
        self.continues = False
        try:
            with open_regular(self.path) as file:
                data = file.read(MAX_SIZE + 1)
        except FileNotFoundError:
            return []
        if not data:
            return []
        # A last line without its end was being written when the process ended.
        first, *lines = data.split(b"\n")[:-1] or [b""]
        header = _parse(first)
        if header is None or header.get("backplane") != "state" or header.get("version") != 1:
            raise StateFileError(
                f"state file {self.path}: is not one; name another path, or move it away"
            )
        records = list(filter(None, map(_parse, lines)))
        if len(data) > MAX_SIZE or len(records) < len(lines):
            self._report(
                f"state file {self.path}: is damaged; what was asked for before this start "
                "is refused"
            )
        else:
            self.continues = self._boot is not None and header.get("boot") == self._boot
        return records


def _line(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> Record | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _boot_id() -> str | None:
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read(100).strip() or None
    except (OSError, ValueError):
        return None
