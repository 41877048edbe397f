"""The file of the outbox: what was accepted and is not confirmed, in an sqlite database.

What was committed is there after the process was killed at any moment, and, as each commit
waits for the disk (a write-ahead log with ``synchronous=FULL``), after a power cut too, as far
as the disk does what it says. One process has the file: beside ``spool`` lies
``.spool.lock``, whose lock ends with it.

Every method blocks; after :meth:`Spool.open` they belong to one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from backplane import forks
from backplane.errors import LocalError
from backplane.node.entries import MAX_NUMBER, Entry, Sealed
from backplane.security.locking import Locked, take_lock

__all__ = ["KEY", "Found", "Spool", "SpoolError"]

KEY: Final = "management.outbox.file"

APPLICATION: Final = 0x62706F78
"""What sqlite keeps for ``file(1)``, and we to know our own: ``bpox``."""

VERSION: Final = 1
"""Of the schema; a file of a later one is not touched."""

BUSY: Final = 2.0
"""Seconds that a lock of somebody who looks into the file is waited for."""

SLACK: Final = 1024
"""Free pages that the file may keep; above that it shrinks a little with each removal."""

_SCHEMA: Final = """
CREATE TABLE items (
    number INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    durable INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload BLOB NOT NULL
)
"""

_FIXES: Final = (
    ("not a database", "name another path, or move the file away"),
    ("malformed", "move the file away; what was in it is lost, or restored from a copy"),
    ("locked", "close what else has it open"),
    ("readonly", "make file and folder writable"),
    ("read-only", "make file and folder writable"),
    ("permission", "make file and folder writable"),
    ("disk is full", "free some space, or name a file elsewhere"),
    ("removed or replaced", "start the service again; what is in the old file is sent until then"),
    ("disk I/O", "look at the disk and its space, or name a file elsewhere"),
)


RESERVE: Final = 16 * 1024 * 1024
"""Bytes of the disk that are left to what is removed, and to others."""


class SpoolError(LocalError):
    """The file cannot be used, or something is not in it; the message says what helps."""


@attrs.frozen
class Found:
    """What an earlier run has left.

    :ivar items: how many.
    :ivar bytes: their size.
    :ivar last: the number of the last one; 0 when there is none.
    """

    items: int
    bytes: int
    last: int


class Spool:
    """The file.

    :param path: absolute path.
    :ivar found: what was in it when it was opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        folder, name = os.path.split(path)
        self._folder = folder or os.curdir
        self._lock_path = os.path.join(folder, f".{name}.lock")
        self.found = Found(0, 0, 0)
        self._lock: int | None = None
        self._database: sqlite3.Connection | None = None
        self._owner = 0
        self._file: tuple[int, int] | None = None

    def open(self) -> None:
        """Take the file, made if it is not there, and see that it can be written.

        :raises SpoolError: when it cannot be used.
        """
        try:
            self._lock = take_lock(self._lock_path)
            self._owner = os.getpid()
            forks.watch(self)
            self._make()
            with self._telling("cannot be used"):
                self.found = self._prepare()
        except Locked as error:
            self.close()
            raise SpoolError(f"{KEY}: {self.path}: {error}") from None
        except OSError as error:
            self.close()
            raise SpoolError(self._told(error.strerror or str(error))) from None
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Let calls of the process pass that has the file.

        :raises SpoolError: in another one, or when the file is not open.
        """
        self._open_here()

    def change(self, added: Sequence[Entry], removed: Sequence[int]) -> None:
        """Add entries and remove others by number; all of it, or nothing.

        :raises SpoolError: when nothing was changed.
        """
        rows = [
            (
                entry.number,
                entry.size,
                entry.sealed.durable,
                entry.sealed.message_id,
                entry.sealed.subject,
                entry.sealed.payload,
            )
            for entry in added
        ]
        with self._telling("could not be written"), self._transaction() as database:
            database.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", rows)
            database.executemany("DELETE FROM items WHERE number = ?", [(n,) for n in removed])
        if removed:
            self._shrink()

    def refuses(self) -> SpoolError | None:
        """Say why nothing may be added now, and what helps: no room, or the file is gone.

        What somebody removes from under sqlite is written to no end: the next start would
        find nothing.
        """
        try:
            here = _file(os.stat(self.path))
        except OSError:
            here = None
        if here != self._file:
            return SpoolError(self._told("was removed or replaced under the running service"))
        try:
            told = os.statvfs(self._folder)
        except (OSError, AttributeError):
            return None
        if told.f_bavail * told.f_frsize >= RESERVE:
            return None
        return SpoolError(self._told("could not be written: the disk is full"))

    def read(self, after: int, items: int, size: int) -> list[Entry]:
        """Return the entries behind one, in order.

        :param after: its number.
        :param items: the most that are returned.
        :param size: bytes after which no further one is returned.
        :raises SpoolError: when they cannot be read.
        """
        found: list[Entry] = []
        with self._telling("could not be read"):
            rows = self._open_here().execute(
                "SELECT number, durable, message_id, subject, payload FROM items"
                " WHERE number > ? ORDER BY number LIMIT ?",
                (after, items),
            )
            for number, durable, message_id, subject, payload in rows:
                if not isinstance(payload, bytes) or not isinstance(subject, str):
                    raise SpoolError(self._told("the database is malformed"))
                found.append(Entry(number, Sealed(subject, payload, message_id, bool(durable))))
                size -= len(payload)
                if size <= 0:
                    rows.close()
                    break
        return found

    def close(self) -> None:
        """Let go of the file and its lock; any number of times."""
        if self._owner not in (0, os.getpid()):
            return
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def forked(self) -> None:
        """See :class:`backplane.forks.Embedded`: the file stays the parent's.

        The database is neither used nor closed here, which would be to write into it.
        """
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _make(self) -> None:
        """Make the file, if it is not there."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise SpoolError(self._told("is not a regular file")) from None
            return
        os.close(descriptor)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _prepare(self) -> Found:
        database = sqlite3.connect(
            self.path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        self._database = database
        if not self._number("PRAGMA schema_version"):
            # Before the first table; so that the file shrinks again after an outage.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("PRAGMA journal_mode = WAL")
            with self._transaction():
                database.execute(_SCHEMA)
                database.execute(f"PRAGMA application_id = {APPLICATION}")
                database.execute(f"PRAGMA user_version = {VERSION}")
        if self._number("PRAGMA application_id") != APPLICATION:
            raise SpoolError(self._told("is a database, but not one of an outbox"))
        version = self._number("PRAGMA user_version")
        if version != VERSION:
            raise SpoolError(
                f"{KEY}: {self.path}: is of version {version}, and this backplane knows "
                f"{VERSION}; name another path, or take the backplane that has written it"
            )
        self._file = _file(os.stat(self.path))
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        self._hide()
        with self._transaction():  # what cannot be written is found here
            database.execute(f"PRAGMA user_version = {VERSION}")
        items, size, last = database.execute(
            "SELECT count(*), total(size), max(number) FROM items"
        ).fetchone()
        if items and not 0 < last < MAX_NUMBER:
            raise SpoolError(self._told("the database is malformed"))
        return Found(items, int(size), last or 0)

    def _hide(self) -> None:
        """Make it nobody else's business, now that it is known to be ours."""
        for end in ("", "-wal", "-shm"):
            path = self.path + end
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_mode & 0o077:
                    os.chmod(path, 0o600)

    def _number(self, query: str) -> int:
        row = self._open_here().execute(query).fetchone()
        return int(row[0])

    def _open_here(self) -> sqlite3.Connection:
        if self._database is None or os.getpid() != self._owner:
            raise SpoolError(f"{KEY}: {self.path}: is not open in this process")
        return self._database

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._open_here()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # some errors have rolled it back already
                with contextlib.suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
            raise

    def _shrink(self) -> None:
        # It is no harm when the file stays large; what was to be removed is.
        with contextlib.suppress(sqlite3.Error):
            free = self._number("PRAGMA freelist_count")
            if free > SLACK:
                # execute() would stop after the first page.
                self._open_here().executescript(f"PRAGMA incremental_vacuum({SLACK // 2})")

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SpoolError(self._told(f"{what}: {error}")) from error

    def _told(self, what: str) -> str:
        fixes = [fix for word, fix in _FIXES if word.lower() in what.lower()]
        return f"{KEY}: {self.path}: {what}; {fixes[0] if fixes else 'name another path'}"


def _file(told: os.stat_result) -> tuple[int, int]:
    return told.st_dev, told.st_ino
