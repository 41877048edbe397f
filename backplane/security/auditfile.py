"""The file of the audit log: one writer, a chain that goes on, rotation without a signal.

The path is looked at before each line: renamed, replaced, deleted and truncated
files are noticed, and the chain goes on in what is there now. Beside
``audit.log`` lies ``.audit.log.chain``: its lock keeps a second writer out, and
it holds the last line's hash for the case that the log is rotated while
nothing runs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from backplane.errors import LocalError
from backplane.security.auditchain import MAX_LINE, START, Torn, digest, parse_line
from backplane.security.locking import Locked, take_lock

__all__ = ["AuditError", "ChainFile", "reason"]

_TAIL: Final = 4 * MAX_LINE
"""Bytes at the end of an existing file that are searched for its last whole line."""

_STATE: Final = 20 + 1 + 64 + 1
"""Length of the state: number and hash of the last line."""


class AuditError(LocalError):
    """The audit log cannot be used: not writable, not a file, or somebody else's."""


class ChainFile:
    """A file of chained lines; all of it belongs to one thread.

    :param path: absolute path.
    :param mode: permissions; an existing file that allows more is tightened.
    :param report: told what an administrator must know.
    :ivar seq: number of the last line.
    :ivar head: its hash.
    """

    def __init__(self, path: str, mode: int, report: Callable[[str], None]) -> None:
        self.path = path
        folder, name = os.path.split(path)
        self.chain_path = os.path.join(folder, f".{name}.chain")
        self.seq = 0
        self.head = START
        self._mode = mode
        self._report = report
        self._lock: int | None = None
        self._file: int | None = None
        self._owner = 0
        self._where = (0, 0, 0)  # device, inode and size after our last write
        self._unended = False  # the file does not end with a line end
        self._fragment = b""  # what a failed write has left behind
        self._intruded = False

    @property
    def torn(self) -> Torn | None:
        """The unreadable bytes that the next line must tell of."""
        return Torn.of(self._fragment) if self._fragment else None

    def open(self) -> None:
        """Take the file and continue its chain.

        :raises AuditError: when it cannot be written, or another process has it.
        """
        if self._lock is not None:
            return
        try:
            self._lock = _lock(self.chain_path)
            self._owner = os.getpid()
            self._file = self._open_file()
            self._resume()
            self._save_state()
        except OSError as error:
            self.close()
            raise AuditError(f"audit log {self.path}: {reason(error)}") from error
        except AuditError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file and its lock."""
        descriptors = (self._file, self._lock)
        self._file = self._lock = None
        for descriptor in descriptors:
            if descriptor is not None:
                try:
                    os.close(descriptor)
                except OSError:
                    pass  # every line was written at once; nothing is kept back

    def append(self, line: bytes) -> None:
        """Write a line at once; what is left of a failed attempt is remembered.

        :param line: made with :attr:`seq`, :attr:`head` and :attr:`torn` as they
            are after :meth:`find`.
        :raises OSError: when it is not in the file.
        """
        assert self._file is not None
        data = b"\n" + line if self._unended else line
        written = os.write(self._file, data)
        device, inode, size = self._where
        self._where = (device, inode, size + written)
        if written < len(data) - 1:  # without its line end alone it is whole
            if written:
                self._keep(data[:written])
            raise OSError(errno.ENOSPC, "the line was cut short")
        self._unended = written < len(data)
        self._fragment = b""
        self.seq, self.head = self.seq + 1, digest(line)
        self._save_state()

    def _keep(self, piece: bytes) -> None:
        """Remember a piece of a line as verification will see it."""
        if not self._fragment:
            # The line end before it belongs to the whole line there.
            self._fragment = piece[self._unended :]
        elif self._unended or self._fragment.endswith(b"\n"):
            self._fragment += piece
        else:
            # The piece before lies at the end of a file that was rotated.
            self._fragment += b"\n" + piece
        self._unended = not piece.endswith(b"\n")

    def find(self) -> None:
        """See to it that the open file is the one at the path, and know how it ends.

        :raises OSError: when it cannot be opened.
        """
        if self._lock is None:
            raise OSError(errno.EBADF, "the audit log is not open")
        if os.getpid() != self._owner:
            raise OSError(errno.EPERM, "the process that opened it has forked")
        status = _status(self.path)
        if self._file is None or status is None or status[:2] != self._where[:2]:
            # Renamed, replaced or deleted; no signal is needed.
            old, self._file = self._file, None
            if old is not None:
                os.close(old)
            self._file = self._open_file()
        elif status != self._where:
            # Truncated after a copy, or written to by somebody else.
            if status[2] > self._where[2] and not self._intruded:
                self._intruded = True
                self._report(f"audit log {self.path}: somebody else has written to it")
            self._look()

    def _open_file(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self.path, flags, self._mode)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file")
            self._tighten(descriptor, stat.S_IMODE(status.st_mode))
        except OSError:
            os.close(descriptor)
            raise
        self._look(descriptor)
        return descriptor

    def _tighten(self, descriptor: int, mode: int) -> None:
        if mode & ~self._mode:
            try:
                os.fchmod(descriptor, mode & self._mode)
            except OSError as error:
                self._report(
                    f"audit log {self.path}: has mode {mode:04o}, "
                    f"and cannot have {self._mode:04o}: {reason(error)}"
                )

    def _look(self, descriptor: int | None = None) -> None:
        """Learn the size of the file and how it ends."""
        file = self._file if descriptor is None else descriptor
        assert file is not None
        status = os.fstat(file)
        self._where = (status.st_dev, status.st_ino, status.st_size)
        size = status.st_size
        self._unended = size > 0 and os.pread(file, 1, size - 1) != b"\n"

    def _resume(self) -> None:
        """Continue the chain after the last line that was written, wherever that is now."""
        assert self._file is not None
        assert self._lock is not None
        size = self._where[2]
        start = max(0, size - _TAIL)
        tail = os.pread(self._file, size - start, start)
        seq, head, rest = _last_line(tail)
        saved = _parse_state(os.pread(self._lock, _STATE + 1, 0))
        if saved[0] > seq or (saved[0] == seq and saved[1] != head):
            if size:
                # Verification will name the place: the chain goes on as it was written.
                self._report(
                    f"audit log {self.path}: does not end with the line that was written last"
                )
            seq, head = saved
        self.seq, self.head = seq, head
        known = start == 0 or len(rest) < len(tail)
        self._fragment = rest if self._unended and known else b""

    def _save_state(self) -> None:
        assert self._lock is not None
        try:
            os.pwrite(self._lock, f"{self.seq:020d} {self.head}\n".encode("ascii"), 0)
        except OSError:
            pass  # needed only when the log is rotated while nothing runs


def _status(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size


def _last_line(tail: bytes) -> tuple[int, str, bytes]:
    """Return number and hash of the last whole line, and the bytes after it."""
    end = len(tail)
    while end > 0:
        start = tail.rfind(b"\n", 0, end - 1) + 1
        line = tail[start:end]
        link = parse_line(line)
        if link is not None:
            return link.seq, digest(line), tail[end:]
        end = start
    return 0, START, tail


def _parse_state(data: bytes) -> tuple[int, str]:
    seq, _, head = data.decode("ascii", "replace").rstrip("\n").partition(" ")
    if len(data) != _STATE or not (seq.isascii() and seq.isdigit()) or len(head) != 64:
        return 0, START
    return int(seq), head


def _lock(path: str) -> int:
    try:
        return take_lock(path)
    except Locked as error:
        raise AuditError(f"audit log: {error}") from None


def reason(error: OSError) -> str:
    """Return what an error says, without numbers and paths."""
    return error.strerror or str(error)
