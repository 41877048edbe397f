"""Values made of files, made anew when the files change.

Nothing here has a timer: whoever uses it calls :meth:`Watched.check` now and
then. A change counts once two looks in a row have seen the same, because
certificate, key and CA are often written one after the other, and a file that is
half written can be a good one. What cannot be used is reported once, and the old
value stays; what is there and cannot be read is tried at every look, because it may
become readable without a change, as when the process had too many files open.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from backplane.errors import ConfigError
from backplane.security.regular import open_regular

__all__ = ["Watched"]

T = TypeVar("T")

_Stamp = tuple[tuple[int, ...] | None, ...]


class Watched(Generic[T]):
    """A value that files stand for.

    Looking costs one ``stat`` for each file; only after a change files are read.
    :meth:`changed` and :meth:`renew` are the halves of :meth:`check`, for a caller
    who does the second in a thread, because reading a large private key takes a while.

    :param paths: files, all that ``load`` reads; a link is followed.
    :param load: reads the files and returns the value; raises :class:`ConfigError`
        when they cannot be used. It is called at once.
    :param report: told in one sentence why new files are not used.
    :raises ConfigError: when the first value cannot be made.
    :ivar value: the value of the last good files.
    :ivar trouble: why the present files are not used; ``None`` when they are.
    """

    def __init__(
        self, paths: Sequence[str], load: Callable[[], T], report: Callable[[str], None]
    ) -> None:
        self.trouble: str | None = None
        self._paths = tuple(paths)
        self._load = load
        self._report = report
        self._settled = self._seen = self._stamp()
        self._digest, _ = self._contents()
        self._unread: bytes | None = None
        self.value = load()

    def check(self) -> bool:
        """Look at the files, and use new ones that are good.

        :returns: whether there is a new :attr:`value`.
        """
        return self.changed() and self.renew()

    def changed(self) -> bool:
        """Say whether there are new files, the same at this look and at the last one."""
        stamp = self._stamp()
        calm, self._seen = stamp == self._seen, stamp
        return calm and stamp != self._settled

    def renew(self) -> bool:
        """Read the files again; return whether there is a new :attr:`value`.

        Files that change meanwhile, or whose contents are those in use, make none.
        """
        stamp = self._stamp()
        digest, readable = self._contents()
        if not readable and digest == self._unread:
            return False  # nothing that was missing can be read now
        made: list[T] = []
        trouble: str | None = None
        if digest != self._digest:
            try:
                made.append(self._load())
            except ConfigError as error:
                trouble = "; ".join(map(str, error.problems))
        if self._stamp() != stamp:
            return False  # the next look sees it
        self._unread = None if readable else digest
        if readable:
            self._settled = stamp
        if trouble is not None and trouble != self.trouble:
            self._report(f"renewed files are not used, the old ones stay: {trouble}")
        self.trouble = trouble
        if not made:
            return False
        self._digest = digest
        self.value = made[0]
        return True

    def _stamp(self) -> _Stamp:
        return tuple(map(_stamp, self._paths))

    def _contents(self) -> tuple[bytes, bool]:
        """Return a digest of all files, and whether all that are there could be read."""
        whole, readable = hashlib.sha256(), True
        for path in self._paths:
            try:
                with open_regular(path) as file:
                    part = hashlib.sha256()
                    while piece := file.read(1 << 20):
                        part.update(piece)
                    whole.update(b"+" + part.digest())
            except OSError as error:
                whole.update(b"-")
                readable = readable and isinstance(error, FileNotFoundError)
        return whole.digest(), readable


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    # The time of the last change of its data or its mode cannot be set back.
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)
