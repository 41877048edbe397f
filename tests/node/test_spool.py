"""The outbox's file by itself: what is in it, what is said when it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from backplane.node.entries import Entry, Sealed
from backplane.node.spool import VERSION, Found, Spool, SpoolError

LIMITED = """
import resource, signal, sys
from backplane.node.entries import Entry, Sealed
from backplane.node.spool import Spool, SpoolError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(sys.argv[1])
spool.open()
spool.change([Entry(1, Sealed("x", b"kept"))], [])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    spool.change([Entry(2, Sealed("x", b"y" * 300_000))], [])
except SpoolError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.change([Entry(3, Sealed("x", b"later"))], [1])
print([entry.number for entry in spool.read(0, 10, 1000)])
"""

FULL_AT_START = """
import resource, signal, sys
from backplane.node.spool import Spool, SpoolError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    Spool(sys.argv[1]).open()
except SpoolError as error:
    print(error)
"""

FORKED = """
import os, sys
from backplane.node.entries import Entry, Sealed
from backplane.node.spool import Spool, SpoolError

spool = Spool(sys.argv[1])
spool.open()
spool.change([Entry(1, Sealed("x", b"parent"))], [])
child = os.fork()
if not child:
    try:
        spool.change([Entry(2, Sealed("x", b"child"))], [])
    except SpoolError as error:
        print(error, flush=True)
    try:
        Spool(sys.argv[1]).open()
    except SpoolError as error:
        print(error, flush=True)
    spool.close()
    sys.exit()  # with all that an interpreter does at its end
os.waitpid(child, 0)
spool.change([Entry(3, Sealed("x", b"parent"))], [])
child = os.fork()
if not child:
    import time
    time.sleep(60)
spool.close()
spool.open()  # a child that lives on has not kept the lock
print([entry.number for entry in spool.read(0, 10, 1000)])
os.kill(child, 9)
"""


def entry(number: int, payload: bytes = b"data", durable: bool = False) -> Entry:
    return Entry(number, Sealed("acme.iot", payload, f"id{number}", durable))


class SpoolCase(SynchronousTestCase):
    """A file that is not there yet."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "spool"

    def open(self) -> Spool:
        spool = Spool(str(self.path))
        self.addCleanup(spool.close)
        spool.open()
        return spool

    def numbers(self, spool: Spool) -> list[int]:
        return [each.number for each in spool.read(0, 10_000, 10**9)]

    def refused(self) -> str:
        return str(self.assertRaises(SpoolError, self.open))


class FileTests(SpoolCase):
    """What is kept."""

    def test_kept(self) -> None:
        """Everything of an item comes back, after the end of the process."""
        spool = self.open()
        self.assertEqual(spool.found, Found(0, 0, 0))
        spool.change([entry(1, b"\0\xff"), entry(2, "ä".encode(), durable=True)], [])
        spool.close()
        again = self.open()
        self.assertEqual(again.found, Found(2, 4, 2))
        self.assertEqual(
            [each.sealed for each in again.read(0, 10, 1000)],
            [
                Sealed("acme.iot", b"\0\xff", "id1", False),
                Sealed("acme.iot", "ä".encode(), "id2", True),
            ],
        )

    def test_removed(self) -> None:
        """Removed items are gone, whatever their place; twice does nothing."""
        spool = self.open()
        spool.change([entry(n) for n in range(1, 7)], [])
        spool.change([entry(7)], [1, 4, 6])
        spool.change([], [4])
        self.assertEqual(self.numbers(spool), [2, 3, 5, 7])
        spool.close()
        self.assertEqual(self.open().found, Found(4, 16, 7))

    def test_read(self) -> None:
        """A part is read: behind a number, so many, or so many bytes and at least one."""
        spool = self.open()
        spool.change([entry(n, b"x" * 100) for n in range(1, 10)], [])
        for arguments, wanted in (
            ((0, 3, 10**6), [1, 2, 3]),
            ((3, 3, 10**6), [4, 5, 6]),
            ((8, 3, 10**6), [9]),
            ((9, 3, 10**6), []),
            ((0, 9, 250), [1, 2, 3]),
            ((0, 9, 1), [1]),
        ):
            self.assertEqual([each.number for each in spool.read(*arguments)], wanted)

    def test_all_or_nothing(self) -> None:
        """A change that fails has changed nothing, and the next one works."""
        spool = self.open()
        spool.change([entry(1)], [])
        self.assertRaises(SpoolError, spool.change, [entry(2), entry(1)], [1])
        self.assertEqual(self.numbers(spool), [1])
        spool.change([entry(2)], [1])
        self.assertEqual(self.numbers(spool), [2])

    def test_modes(self) -> None:
        """File, log and lock are nobody else's business, also where they were made so."""
        self.open().close()
        self.path.chmod(0o644)
        self.open().change([entry(1)], [])
        names = sorted(path.name for path in self.folder.iterdir())
        self.assertEqual(names, [".spool.lock", "spool", "spool-shm", "spool-wal"])
        for path in self.folder.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path.name)

    def test_shrinks(self) -> None:
        """A file that was large becomes small again."""
        spool = self.open()
        spool.change([entry(n, b"x" * 100_000) for n in range(1, 201)], [])
        for n in range(1, 201):
            spool.change([], [n])
        spool.close()
        self.assertLess(self.path.stat().st_size, 10_000_000)

    def test_waits_for_the_disk(self) -> None:
        """Each commit is on the disk: a write-ahead log with full synchronisation."""
        spool = self.open()
        database = spool._open_here()
        self.assertEqual(database.execute("PRAGMA journal_mode").fetchone(), ("wal",))
        self.assertEqual(database.execute("PRAGMA synchronous").fetchone(), (2,))

    def test_killed(self) -> None:
        """What was committed is there after SIGKILL."""
        script = (
            "import os, sys\n"
            "from backplane.node.entries import Entry, Sealed\n"
            "from backplane.node.spool import Spool\n"
            "spool = Spool(sys.argv[1])\n"
            "spool.open()\n"
            "spool.change([Entry(n, Sealed('x', b'y')) for n in range(1, 100)], [])\n"
            "spool.change([], [1])\n"
            "os.kill(os.getpid(), 9)\n"
        )
        subprocess.run([sys.executable, "-c", script, str(self.path)], check=False)
        self.assertEqual(self.numbers(self.open()), list(range(2, 100)))


class UnusableTests(SpoolCase):
    """Each says the field, the file and what helps."""

    def check(self, *words: str) -> None:
        text = self.refused()
        for word in ("management.outbox.file", str(self.path), *words):
            self.assertIn(word, text)
        # It has let go of what it had.
        self.path.unlink(missing_ok=True)
        self.open().change([entry(1)], [])

    def test_no_database(self) -> None:
        self.path.write_bytes(b"a text of somebody else's\n" * 1000)
        self.check("file is not a database", "move the file away")

    def test_truncated(self) -> None:
        """A file whose end is missing."""
        spool = self.open()
        spool.change([entry(n, b"x" * 3000) for n in range(1, 300)], [])
        spool.close()
        os.truncate(self.path, 500_000)
        self.check("malformed", "move the file away")

    def test_overwritten(self) -> None:
        """A file whose middle is garbage; what can be read only later is told then."""
        spool = self.open()
        spool.change([entry(n, b"x" * 3000) for n in range(1, 300)], [])
        spool.close()
        with self.path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * 600_000)
        text = ""
        try:
            self.open().read(0, 1000, 10**9)
        except SpoolError as error:
            text = str(error)
        self.assertIn("move the file away", text)

    def test_other_database(self) -> None:
        with closing(sqlite3.connect(self.path)) as database:
            database.execute("CREATE TABLE theirs (a)")
        self.check("not one of an outbox", "another path")

    def test_later_version(self) -> None:
        self.open().close()
        with closing(sqlite3.connect(self.path)) as database:
            database.execute(f"PRAGMA user_version = {VERSION + 1}")
        self.check(f"version {VERSION + 1}", "another path")

    def test_not_ours(self) -> None:
        """Whatever it is, it stays as it is."""
        self.path.write_bytes(b"a text of somebody else's\n" * 1000)
        before = self.path.read_bytes()
        self.path.chmod(0o644)
        self.refused()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o644)
        self.assertEqual(self.path.read_bytes(), before)

    def test_not_regular(self) -> None:
        """A directory, or a pipe that nobody writes."""
        self.path.mkdir(0o755)
        self.assertIn(f"management.outbox.file: {self.path}: is not a regular", self.refused())
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o755)
        self.path.rmdir()
        os.mkfifo(self.path)
        self.assertIn("is not a regular file; name another path", self.refused())

    def test_no_folder(self) -> None:
        self.path = self.folder / "none" / "spool"
        self.assertIn("No such file or directory", self.refused())

    def test_second(self) -> None:
        """Two on one file: the second is refused, the first goes on."""
        spool = self.open()
        text = self.refused()
        self.assertIn("another process", text)
        self.assertIn("needs a file of its own", text)
        spool.change([entry(1)], [])
        self.assertEqual(self.numbers(spool), [1])

    def test_locked(self) -> None:
        """Somebody else's transaction in the file."""
        self.open().close()
        self.patch(sys.modules[Spool.__module__], "BUSY", 0.01)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            text = self.refused()
        self.assertIn("database is locked; close what else has it open", text)
        self.open()

    def test_read_only(self) -> None:
        """A file that may only be read."""
        script = (
            "import os, sys\n"
            "from backplane.node.spool import Spool, SpoolError\n"
            "if not os.getuid(): os.setgid(65534); os.setuid(65534)\n"
            "try: Spool(sys.argv[1]).open()\n"
            "except SpoolError as error: print(error)\n"
        )
        self.open().close()
        for path in self.folder.iterdir():
            path.chmod(0o444)
        self.folder.chmod(0o555)
        self.addCleanup(self.folder.chmod, 0o755)
        with_path = subprocess.run(
            [sys.executable, "-c", script, str(self.path.absolute())],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn("management.outbox.file", with_path.stdout, with_path.stderr)
        self.assertIn("make file and folder writable", with_path.stdout)

    def test_disk_full(self) -> None:
        """What does not fit is not there, said, and nothing else is lost."""
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(self.path)],
            capture_output=True,
            text=True,
            check=True,
        )
        told, numbers = done.stdout.splitlines()
        self.assertIn("management.outbox.file", told)
        self.assertIn("space", told)
        self.assertEqual(numbers, "[3]")

    def test_disk_full_at_start(self) -> None:
        """Also with what an earlier run has left the start needs a little space."""
        self.open().close()
        done = subprocess.run(
            [sys.executable, "-c", FULL_AT_START, str(self.path)],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertIn("management.outbox.file", done.stdout)
        self.assertIn("space", done.stdout)
        self.open()

    def test_forked(self) -> None:
        """A child uses neither file nor lock, and leaves both whole when it ends."""
        done = subprocess.run(
            [sys.executable, "-c", FORKED, str(self.path)],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = done.stdout.splitlines()
        self.assertIn("is not open in this process", lines[0])
        self.assertIn("another process", lines[1])
        self.assertEqual(lines[2:], ["[1, 3]"])
