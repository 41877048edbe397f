"""What verification finds when somebody has touched an audit log."""

from __future__ import annotations

from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.security.auditchain import MAX_LINE, START, Torn, digest
from backplane.security.auditverify import Fault, Verdict, read_lines, verify, verify_files
from tests.security.auditing import ENTRY, VECTORS, forged, line_of


class VerifyTests(SynchronousTestCase):
    """What was done to a chain of ten lines in three files."""

    def setUp(self) -> None:
        self.chain: list[bytes] = []
        head = START
        for seq in range(1, 11):
            entry = attrs.evolve(ENTRY, request_id=f"r{seq}", secure=seq % 2 == 0)
            self.chain.append(line_of(entry, link=(seq, head)))
            head = digest(self.chain[-1])
        self.head = head

    def check(self, lines: list[bytes], anchors: tuple[str, ...] = ()) -> Verdict:
        return verify([("a", lines[:3]), ("b", lines[3:3]), ("c", lines[3:])], anchors)

    def where(self, at: int) -> tuple[str, int]:
        return ("a", at + 1) if at < 3 else ("c", at - 2)

    def assert_fault(self, lines: list[bytes], at: int, kind: str) -> None:
        fault = self.check(lines).fault
        assert fault is not None
        self.assertEqual((fault.path, fault.line, fault.kind), (*self.where(at), kind))

    def test_good(self) -> None:
        """All that is told of a chain that holds."""
        self.assertEqual(
            self.check(self.chain),
            Verdict(
                lines=10,
                first="2026-11-25T01:34:17.048054+0000",
                last="2026-11-25T01:34:17.048054+0000",
                first_seq=1,
                last_seq=10,
                head=self.head,
                whole=True,
                insecure=5,
            ),
        )
        self.assertEqual(verify([]), Verdict())

    def test_edited(self) -> None:
        """Every line but the last, which nothing is chained to yet."""
        for at in range(9):
            lines = list(self.chain)
            lines[at] = lines[at].replace(b"late", b"soon")
            self.assert_fault(lines, at, "edited")
        lines = list(self.chain)
        lines[9] = lines[9].replace(b"late", b"soon")
        self.assertIsNone(self.check(lines).fault)

    def test_links_edited(self) -> None:
        for at in range(1, 9):
            lines = list(self.chain)
            lines[at] = forged(lines, at, previous="0a" * 32)
            self.assert_fault(lines, at, "edited")
            lines[at] = forged(self.chain, at, seq=99)
            self.assert_fault(lines, at, "edited")

    def test_removed(self) -> None:
        """One line and several, not at the ends."""
        for at in range(1, 9):
            self.assert_fault(self.chain[:at] + self.chain[at + 1 :], at, "removed")
        self.assert_fault(self.chain[:2] + self.chain[7:], 2, "removed")

    def test_inserted(self) -> None:
        """With and without care for the links."""
        for at in range(1, 9):
            careless = forged(self.chain, at, request_id="x", seq=at + 1, previous="0b" * 32)
            self.assert_fault([*self.chain[:at], careless, *self.chain[at:]], at, "inserted")
            careful = forged(self.chain, at, request_id="x")
            self.assert_fault([*self.chain[:at], careful, *self.chain[at:]], at, "inserted")
            copied = self.chain[at]
            self.assert_fault([*self.chain[:at], copied, *self.chain[at:]], at, "inserted")

    def test_reordered(self) -> None:
        for at in range(1, 8):
            lines = list(self.chain)
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
            self.assert_fault(lines, at, "reordered")
        self.assert_fault([*self.chain[:5], self.chain[1], *self.chain[6:]], 5, "reordered")

    def test_torn(self) -> None:
        """Any line cut, alone or run together with the next."""
        for at in range(10):
            lines = list(self.chain)
            lines[at] = lines[at][:40] + b"\n"
            self.assert_fault(lines, at, "torn")
            lines[at] = lines[at][:-1] + self.chain[(at + 1) % 10]
            self.assert_fault(lines, at, "torn")

    def test_noted_tear_removed(self) -> None:
        """A line that tells of a torn one wants to see it."""
        lines = list(self.chain[:4])
        lines.append(line_of(ENTRY, link=(5, digest(lines[-1])), torn=Torn.of(b"half a l")))
        self.assertIsNone(self.check([*lines[:4], b"half a l\n", lines[4]]).fault)
        self.assert_fault(lines, 4, "removed")
        self.assert_fault([*lines[:4], b"half a m\n", lines[4]], 4, "torn")
        # At the beginning of what is given it may lie in the file before.
        self.assertIsNone(verify([("a", lines[4:])]).fault)

    def test_what_it_cannot_show(self) -> None:
        """Without an anchor a shorter chain and a new one hold; with one they do not."""
        for lines in (self.chain[:6], [line_of(ENTRY)]):
            self.assertIsNone(self.check(lines).fault)
            fault = self.check(lines, (self.head,)).fault
            self.assertEqual(fault, Fault("", 0, "anchor", f"no line has the hash {self.head}"))

    def test_anchors(self) -> None:
        """The hash of any line, and of the one before the first that is given."""
        hashes = tuple(digest(line).upper() for line in self.chain)
        self.assertIsNone(self.check(self.chain, hashes).fault)
        self.assertIsNone(verify([("a", self.chain[4:])], hashes[3:]).fault)
        self.assertIsNotNone(verify([("a", self.chain[4:])], hashes[2:]).fault)

    def test_choria_log(self) -> None:
        """Another program's audit log has no chain."""
        lines = (VECTORS / "node1-secure.jsonl").read_bytes().splitlines(keepends=True)
        fault = verify([("a", lines)]).fault
        self.assertEqual(fault and (fault.line, fault.kind), (1, "torn"))

    @given(st.data())
    def test_any_damage(self, data: st.DataObject) -> None:
        """One flipped bit anywhere before the last line is a fault, in its line or the next."""
        at = data.draw(st.integers(0, 8))
        line = bytearray(self.chain[at])
        position = data.draw(st.integers(0, len(line) - 1))
        line[position] ^= 1 << data.draw(st.integers(0, 7))
        text = b"".join([*self.chain[:at], bytes(line), *self.chain[at + 1 :]])
        fault = verify([("a", text.splitlines(keepends=True))]).fault
        assert fault is not None
        self.assertIn(fault.line, (at + 1, at + 2))

    @given(st.lists(st.binary(max_size=200)))
    def test_never_raises(self, lines: list[bytes]) -> None:
        """Bytes that are no log are named, not raised."""
        verdict = verify([("a", lines)])
        self.assertEqual(verdict.fault is None, not lines)

    def test_endless_line(self) -> None:
        """A file without line ends is read in pieces and is one bad line."""
        path = Path(self.mktemp())
        path.write_bytes(b"".join(self.chain) + b"x" * (3 * MAX_LINE) + b"\n" + self.chain[0])
        with path.open("rb") as file:
            self.assertLessEqual(max(map(len, read_lines(file))), MAX_LINE + 1)
        fault = verify_files([str(path)]).fault
        self.assertEqual(fault and (fault.line, fault.kind), (11, "torn"))
