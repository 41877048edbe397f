"""One line of the audit log: what it holds, and its bounds."""

from __future__ import annotations

import calendar
import hashlib
import json
import time
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.security.auditchain import (
    MAX_DATA,
    MAX_LINE,
    START,
    AuditEntry,
    digest,
    parse_line,
)
from tests.security.auditing import ENTRY, VECTORS, line_of, pack


class LineTests(SynchronousTestCase):
    """One line."""

    def test_as_choria_writes_it(self) -> None:
        """Each line of a Choria node is, byte for byte, how ours begins."""
        count = 0
        for path in sorted(VECTORS.glob("*.jsonl")):
            for raw in path.read_bytes().splitlines():
                fields = json.loads(raw)
                written = fields.pop("timestamp")
                whole, _, micro = written.removesuffix("+0000").partition(".")
                start = _seconds(whole) + int(micro) / 1e6
                entry = AuditEntry(**fields)
                ours = line_of(entry, now=start)
                self.assertTrue(ours.startswith(raw[:-1] + b',"decision":'), (raw, ours))
                count += 1
        self.assertEqual(count, 57)

    def test_fields(self) -> None:
        """What follows Choria's eight fields, and in which order."""
        line = line_of(ENTRY, link=(7, "ab" * 32), lost=2)
        fields = json.loads(line)
        self.assertEqual(
            list(fields)[8:],
            [
                *("decision", "rule", "outcome", "duration", "signer", "secure", "phase"),
                *("seq", "previous", "lost"),
            ],
        )
        self.assertEqual((fields["secure"], fields["signer"]), (True, "rip.mcollective"))
        self.assertEqual((fields["seq"], fields["previous"]), (7, "ab" * 32))
        plain = json.loads(line_of(attrs.evolve(ENTRY, secure=False, signer=None)))
        self.assertEqual((plain["secure"], plain["signer"]), (False, None))

    def test_hash_is_of_the_line_with_its_end(self) -> None:
        line = line_of(ENTRY)
        self.assertEqual(digest(line), hashlib.sha256(line).hexdigest())
        self.assertEqual(digest(line[:-1]), digest(line))

    def test_large_data_is_cut(self) -> None:
        """The most that is kept, and one more."""
        room = MAX_DATA - len('{"a":""}')
        kept = json.loads(line_of(attrs.evolve(ENTRY, data={"a": "x" * room})))["data"]
        self.assertEqual(kept, {"a": "x" * room})
        cut = json.loads(line_of(attrs.evolve(ENTRY, data={"a": "x" * (room + 1)})))["data"]
        self.assertEqual(cut["audit_cut"], MAX_DATA + 1)
        self.assertTrue(cut["audit_begins"].startswith('{"a":"xxx'))

    def test_unwritable_data(self) -> None:
        """Data that JSON cannot hold costs the data, not the line."""
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for data in ({1j: 2}, {"a": {1, 2}}, float("nan"), deep, 10**5000):
            written = json.loads(line_of(attrs.evolve(ENTRY, data=data)))["data"]
            self.assertEqual(list(written), ["audit_unwritable"])

    def test_text_is_tame(self) -> None:
        """Nothing that a stranger sends ends a line, drives a terminal or looks like markup."""
        line = line_of(attrs.evolve(ENTRY, caller="a=\n\x1b[2J\u202e<b>&\udc80"))
        self.assertEqual(line.count(b"\n"), 1)
        self.assertTrue(line[:-1].decode("ascii").isprintable())
        self.assertIn(rb"\u003cb\u003e\u0026", line)
        self.assertEqual(json.loads(line)["caller"], "a=\n\x1b[2J\u202e<b>&\udc80")

    @given(
        st.text() | st.text("\U0001f600", min_size=250, max_size=400),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
        st.none() | st.text(),
    )
    def test_any(self, text: str, data: Any, outcome: str | None) -> None:
        """Whatever is asked, there is one bounded line that reads back."""
        entry = AuditEntry(
            request_id=text,
            request_time=0,
            caller=text,
            sender=text,
            agent=text,
            action=text,
            data=data,
            signer=text,
        )
        line = line_of(entry, outcome=outcome, rule=text, link=(3, "0f" * 32))
        self.assertLess(len(line), MAX_LINE)
        self.assertEqual((line.count(b"\n"), line[-1:]), (1, b"\n"))
        link = parse_line(line)
        assert link is not None
        self.assertEqual((link.seq, link.previous, link.secure), (3, "0f" * 32, False))

    @given(st.binary() | st.text('{}[]":,0123456789abcdef').map(str.encode))
    def test_parse_never_raises(self, data: bytes) -> None:
        """Bytes are a line, or nothing."""
        self.assertIsNone(parse_line(data))
        self.assertIsNone(parse_line(b'{"timestamp":"' + data))

    def test_parse_refuses(self) -> None:
        """Each link must be what the writer writes."""
        fields = json.loads(line_of(ENTRY, lost=1))
        fields["torn"] = {"size": 3, "sha256": START}
        self.assertIsNotNone(parse_line(pack(fields)))
        for key, value in (
            ("seq", 0),
            ("seq", True),
            ("seq", "1"),
            ("seq", 1 << 63),
            ("previous", START.replace("0", "F")),
            ("previous", "0" * 63),
            ("previous", None),
            ("timestamp", 5),
            ("lost", -1),
            ("torn", 5),
            ("torn", {"size": 1}),
            ("torn", {"size": -1, "sha256": START}),
        ):
            self.assertIsNone(parse_line(pack({**fields, key: value})), (key, value))
        self.assertIsNone(parse_line(b'{"timestamp":"' + b"[" * 60_000))
        self.assertIsNone(parse_line(pack({**fields, "x": "y" * MAX_LINE})))


def _seconds(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
