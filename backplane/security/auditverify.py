"""Whether the lines of an audit log are those that were written, in their order.

Verification needs the lines alone. What it cannot show without a hash that was
kept elsewhere (an *anchor*): that lines are missing at the end, that the last
line was altered, and that all of it was written anew.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import attrs

from backplane.security.auditchain import MAX_LINE, START, Link, Torn, digest, parse_line

__all__ = ["Fault", "Verdict", "read_lines", "verify", "verify_files"]

_GZIP: Final = b"\x1f\x8b"


@attrs.frozen
class Fault:
    """The first line that does not fit.

    :ivar path: its file, or empty when no line is to blame.
    :ivar line: its number there, from 1.
    :ivar kind: ``edited``, ``removed``, ``inserted``, ``reordered``, ``torn`` or ``anchor``.
    :ivar text: what is wrong with it, as a sentence fragment.
    """

    path: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.path else ""
        return f"{where}{self.kind}: {self.text}"


@attrs.frozen
class Verdict:
    """What verification came to.

    :ivar fault: the first line that does not fit, or ``None``; the other values
        count the lines before it.
    :ivar lines: how many lines fit.
    :ivar first, last: when the first and the last of them were written.
    :ivar first_seq, last_seq: their numbers in the chain.
    :ivar head: hash of the last of them: what is worth keeping elsewhere.
    :ivar whole: the chain begins here; otherwise its beginning is in other files.
    :ivar insecure: how many lines are of the insecure mode.
    :ivar lost: how many lines could not be written at the time.
    :ivar torn: how many times the writer has noted a torn line.
    """

    fault: Fault | None = None
    lines: int = 0
    first: str | None = None
    last: str | None = None
    first_seq: int | None = None
    last_seq: int | None = None
    head: str | None = None
    whole: bool = False
    insecure: int = 0
    lost: int = 0
    torn: int = 0


@attrs.frozen
class _Item:
    """A piece of a file: a whole line, or something else (``link`` is ``None``)."""

    path: str
    line: int
    raw: bytes
    link: Link | None

    @property
    def digest(self) -> str:
        return digest(self.raw)

    def fault(self, kind: str, text: str) -> Fault:
        return Fault(self.path, self.line, kind, text)


def verify(files: Iterable[tuple[str, Iterable[bytes]]], anchors: Sequence[str] = ()) -> Verdict:
    """Verify a chain that lies in files, the oldest first.

    :param files: name and lines of each; every line has its line end, except
        the last of a file and the pieces of overlong ones (see :func:`read_lines`).
    :param anchors: hashes that were kept elsewhere, as hexadecimal text: each
        must be that of a line, or of the one before the first.
    """
    walk = _Walk({anchor.lower() for anchor in anchors})
    before: _Item | None = None
    for item in _items(files):
        if before is not None and not walk.take(before, item):
            return walk.verdict
        before = item
    if before is not None and not walk.take(before, None):
        return walk.verdict
    walk.end()
    return walk.verdict


class _Walk:
    """Goes from line to line as long as they fit."""

    def __init__(self, anchors: set[str]) -> None:
        self.verdict = Verdict()
        self._anchors = anchors
        self._last: _Item | None = None
        self._torn: _Item | None = None
        self._torn_size = 0
        self._torn_hash = hashlib.sha256()

    def take(self, item: _Item, following: _Item | None) -> bool:
        """Take the next piece; say whether to go on."""
        link = item.link
        if link is None:
            self._tear(item, following)
            return True
        fault = self._check_torn(item, link) or self._check_link(item, link, following)
        if fault is not None:
            self.verdict = attrs.evolve(self.verdict, fault=fault)
            return False
        self._accept(item, link)
        return True

    def end(self) -> None:
        """No more lines."""
        fault = None
        if self._torn is not None:
            fault = self._torn.fault("torn", "is not a whole line of this log")
        elif self._anchors:
            fault = Fault("", 0, "anchor", f"no line has the hash {min(self._anchors)}")
        self.verdict = attrs.evolve(self.verdict, fault=fault)

    def _tear(self, item: _Item, following: _Item | None) -> None:
        raw = item.raw
        goes_on = following is not None and (following.path, following.line) == (
            item.path,
            item.line,
        )
        if not raw.endswith(b"\n") and not goes_on:
            raw += b"\n"  # the end of its file
        if self._torn is None:
            self._torn, self._torn_size, self._torn_hash = item, 0, hashlib.sha256()
        self._torn_size += len(raw)
        self._torn_hash.update(raw)

    def _check_torn(self, item: _Item, link: Link) -> Fault | None:
        if self._torn is None:
            if link.torn is not None and self._last is not None:
                return item.fault("removed", "tells of a torn line before it, which is gone")
            return None
        if link.torn != Torn(self._torn_size, self._torn_hash.hexdigest()):
            return self._torn.fault("torn", "is not a whole line of this log")
        self._torn = None
        return None

    def _check_link(self, item: _Item, link: Link, following: _Item | None) -> Fault | None:
        """Find out what was done where two lines do not fit together."""
        last = self._last
        if last is None or last.link is None:
            return None
        wanted = last.link.seq + 1
        if link.previous == last.digest:
            if link.seq == wanted:
                return None
            return item.fault("edited", f"has the number {link.seq} instead of {wanted}")
        if link.previous == last.link.previous:
            return last.fault("inserted", "and the next line both claim the same place")
        after = following.link if following is not None else None
        if following is not None and link.previous == following.digest:
            return item.fault("reordered", "belongs after the line that follows it")
        if after is not None and after.previous == last.digest:
            return item.fault("inserted", "the line after it follows the one before it")
        if link.seq > wanted:
            return item.fault("removed", f"lines are missing before it: {link.seq - wanted}")
        if link.seq < wanted:
            return item.fault("reordered", f"has the number {link.seq}, wanted {wanted}")
        if following is None or (after is not None and after.previous == item.digest):
            return last.fault("edited", "is not what the next line was chained to")
        return item.fault("edited", "neither neighbour fits it")

    def _accept(self, item: _Item, link: Link) -> None:
        head = item.digest
        self._anchors.discard(head)
        old = self.verdict
        if self._last is None:
            self._anchors.discard(link.previous)
            whole = link.seq == 1 and link.previous == START
            old = attrs.evolve(old, first=link.timestamp, first_seq=link.seq, whole=whole)
        self._last = item
        self.verdict = attrs.evolve(
            old,
            lines=old.lines + 1,
            last=link.timestamp,
            last_seq=link.seq,
            head=head,
            insecure=old.insecure + (not link.secure),
            lost=old.lost + link.lost,
            torn=old.torn + (link.torn is not None),
        )


def _items(files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[_Item]:
    for path, lines in files:
        number, inside = 0, False
        for raw in lines:
            if not inside:
                number += 1
            link = None if inside else parse_line(raw)
            inside = not raw.endswith(b"\n")
            yield _Item(path, number, raw, link)


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, overlong ones in pieces, so that memory is bounded."""
    while piece := file.readline(MAX_LINE + 1):
        yield piece


def verify_files(paths: Sequence[str], anchors: Sequence[str] = ()) -> Verdict:
    """Verify files, plain or compressed by gzip, in any order.

    They are put in the order of the numbers that their first lines have.

    :raises OSError: when one cannot be read, or is not what it seems.
    """
    starts = [(_first_seq(path), at, path) for at, path in enumerate(paths)]
    return verify(((path, _read(path)) for _, _, path in sorted(starts)), anchors)


def _first_seq(path: str) -> int:
    """Return the number of the first whole line; files without one come last."""
    found = (item.link for item in _items([(path, _read(path))]))
    return next((link.seq for link in found if link is not None), 1 << 63)


def _read(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as plain:
            start = plain.read(len(_GZIP))
            plain.seek(0)
            if start == _GZIP:
                with gzip.open(plain) as packed:
                    yield from read_lines(packed)  # type: ignore[arg-type]
            else:
                yield from read_lines(plain)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(errno.EIO, f"cannot be unpacked: {error}", path) from error
