"""Files that are renewed while a program runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError, Problem
from backplane.security.pemfiles import KeyPair, load_key_pair
from backplane.security.regular import open_regular
from backplane.security.watch import Watched
from backplane.testing import PKI


class WatchedTests(SynchronousTestCase):
    """A value made of two files, which must have the same text."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.one, self.two = folder / "one", folder / "two"
        self.reports: list[str] = []
        self.loads = 0
        self.times = 0
        self.write("old")
        self.watched = Watched([str(self.one), str(self.two)], self.load, self.reports.append)

    def write(self, text: str, *paths: Path) -> None:
        for path in paths or (self.one, self.two):
            path.write_text(text)
            # The times of files may be coarse; no two states may look the same.
            self.times += 1
            os.utime(path, ns=(self.times, self.times))

    def load(self) -> str:
        self.loads += 1
        try:
            texts = {self.one.read_text(), self.two.read_text()}
        except OSError as error:
            raise ConfigError([Problem("key", str(error.strerror), "a file")]) from None
        if len(texts) > 1:
            raise ConfigError([Problem("key", "another text", "the same")])
        return texts.pop()

    def test_quiet(self) -> None:
        """As long as nothing changes, files are looked at and not read."""
        self.assertEqual([self.watched.check() for _ in range(5)], [False] * 5)
        self.assertEqual((self.watched.value, self.loads), ("old", 1))

    def test_renewal(self) -> None:
        """New files are used once they have been the same for two looks."""
        self.write("new")
        self.assertEqual([self.watched.check() for _ in range(4)], [False, True, False, False])
        self.assertEqual((self.watched.value, self.loads, self.reports), ("new", 2, []))

    def test_one_after_the_other(self) -> None:
        """Files that are written one after the other are no trouble."""
        self.write("new", self.one)
        self.assertFalse(self.watched.check())
        self.write("new", self.two)
        self.assertEqual([self.watched.check() for _ in range(2)], [False, True])
        self.assertEqual((self.watched.value, self.reports), ("new", []))

    def test_broken(self) -> None:
        """What cannot be used is told once; the old value stays, until it can be."""
        self.write("new", self.one)
        self.assertEqual([self.watched.check() for _ in range(5)], [False] * 5)
        self.assertEqual(self.watched.value, "old")
        self.assertEqual(len(self.reports), 1)
        self.assertIn("key: found another text, wanted the same", self.reports[0])
        self.assertIn("found another text", self.watched.trouble or "")
        self.write("newer", self.one)
        self.assertEqual([self.watched.check() for _ in range(5)], [False] * 5)
        self.assertEqual(len(self.reports), 1)
        self.write("newer", self.two)
        self.assertEqual([self.watched.check() for _ in range(2)], [False, True])
        self.assertEqual((self.watched.value, self.watched.trouble), ("newer", None))

    def test_missing(self) -> None:
        """A file that is gone is trouble; that it is back, with what is in use, is no news."""
        self.one.unlink()
        self.assertEqual([self.watched.check() for _ in range(3)], [False] * 3)
        self.assertEqual(len(self.reports), 1)
        self.write("old", self.one)
        self.assertEqual([self.watched.check() for _ in range(3)], [False] * 3)
        self.assertEqual((self.watched.trouble, self.watched.value), (None, "old"))
        self.assertEqual(len(self.reports), 1)

    def test_pipe(self) -> None:
        """A pipe in place of a file is not waited for."""
        self.watched = Watched([str(self.one)], lambda: str(self.one.exists()), self.reports.append)
        self.one.unlink()
        os.mkfifo(self.one)
        self.assertEqual([self.watched.check() for _ in range(3)], [False, True, False])

    def test_unreadable_for_a_while(self) -> None:
        """What could not be read is tried again, though the files have not changed since."""
        full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def fail(path: str, flags: int) -> int:
            raise full

        def load() -> str:
            try:
                with open_regular(str(self.one)) as file:
                    return file.read().decode()
            except OSError as error:
                raise ConfigError([Problem("key", str(error.strerror), "a file")]) from None

        self.watched = Watched([str(self.one)], load, self.reports.append)
        self.write("new")
        patched = self.patch(os, "open", fail)
        self.assertEqual([self.watched.check() for _ in range(4)], [False] * 4)
        self.assertEqual((len(self.reports), self.watched.value), (1, "old"))
        self.assertIn("Too many open files", self.watched.trouble or "")
        patched.restore()
        self.assertEqual([self.watched.check() for _ in range(3)], [True, False, False])
        self.assertEqual((self.watched.value, self.watched.trouble), ("new", None))
        self.assertFalse(self.watched.changed())

    def test_touched(self) -> None:
        """Files that were only written again make no new value."""
        self.write("old")
        self.assertEqual([self.watched.check() for _ in range(4)], [False] * 4)
        self.assertEqual(self.loads, 1)

    def test_link(self) -> None:
        """A link that points elsewhere is a renewal."""
        other = self.one.with_name("other")
        self.write("new", other)
        self.write("new", self.two)
        self.one.unlink()
        self.one.symlink_to(other.name)
        self.assertEqual([self.watched.check() for _ in range(2)], [False, True])

    def test_changed_while_read(self) -> None:
        """What changes while it is read is read again, without a report."""
        self.write("new", self.one)
        self.assertFalse(self.watched.check())
        load = self.load

        def slow() -> str:
            try:
                return load()
            finally:
                self.write("new", self.two)

        self.watched._load = slow  # as if another program wrote just then
        self.assertFalse(self.watched.check())
        self.watched._load = load
        self.assertEqual(self.reports, [])
        self.assertEqual([self.watched.check() for _ in range(2)], [False, True])
        self.assertEqual(self.watched.value, "new")

    def test_first(self) -> None:
        """What cannot be used at first is an error."""
        self.write("new", self.one)
        with self.assertRaises(ConfigError):
            Watched([str(self.one), str(self.two)], self.load, self.reports.append)


class KeyPairTests(SynchronousTestCase):
    """The real thing: certificate and key."""

    def test_key_pair(self) -> None:
        """A renewed pair is used; a key that is not the certificate's is not."""
        pki = PKI(self.mktemp())
        issued = pki.client("app1.example.net")
        reports: list[str] = []
        watched: Watched[KeyPair] = Watched(
            [issued.cert, issued.key],
            lambda: load_key_pair(issued.cert, issued.key),
            reports.append,
        )
        renewed = pki.client("app1.example.net")
        self.assertEqual([watched.check() for _ in range(2)], [False, True])
        self.assertEqual(watched.value.chain, (renewed.certificate,))
        other = pki.client("app2.example.net")
        Path(other.key).replace(issued.key)
        self.assertEqual([watched.check() for _ in range(3)], [False] * 3)
        self.assertIn("found the key of another certificate", reports[0])
        self.assertEqual(watched.value.chain, (renewed.certificate,))
