"""The fast reader and writer: what they give is what the careful ones give, or nothing."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import documents
from backplane.choria.documents import dumps, parse_object
from backplane.choria.exactjson import read_exactly, write_exactly
from backplane.errors import DecodeError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

PIECES = st.sampled_from(
    (
        *('{"a":', '"a"', ":", ",", "{", "}", "[", "]", " ", "null", '{"a":1,"a":1}'),
        *("1", "1.0", "-0", "1e3", "18446744073709551616", "NaN"),
        *('"\\u0061"', '"\\ud800"', '"\ud800"', "\x7f", '"é"'),
    )
)
"""What is joined to texts that are nearly JSON."""


def outcome(document: str | bytes) -> Any:
    """Return what comes of reading a document: text that tells types apart, or the reason."""
    try:
        return repr(parse_object(document, "layer", known=("key",), max_values=50))
    except DecodeError as error:
        return error.reason


class ReadTests(SynchronousTestCase):
    """Reading quickly or carefully makes no difference."""

    def same(self, document: str | bytes) -> None:
        """Compare the two."""
        quick = outcome(document)
        patch = self.patch(documents, "read_exactly", lambda document: None)
        careful = outcome(document)
        patch.restore()
        self.assertEqual(quick, careful)

    @given(st.dictionaries(st.text(), VALUES, max_size=4), st.booleans(), st.booleans())
    def test_values(self, value: dict[str, Any], compact: bool, ascii_only: bool) -> None:
        """Whatever a peer writes, however it writes it."""
        separators = (",", ":") if compact else None
        text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
        self.same(text)
        self.same(text.encode("utf-8", "surrogatepass"))

    @given(st.lists(PIECES, max_size=8).map("".join))
    def test_pieces(self, text: str) -> None:
        """And what nobody should write."""
        self.same(text)
        self.same(text.encode("utf-8", "surrogatepass"))

    @given(st.binary(max_size=20))
    def test_bytes(self, data: bytes) -> None:
        """And bytes that are no text."""
        self.same(data)

    def test_which(self) -> None:
        """Exactly the texts that come out again are read."""
        for text in ('{"a":1}', '{"a":[1.5,"é",true]}', "[]"):
            self.assertEqual(read_exactly(text.encode()), json.loads(text))
        for text in ('{"a":1,"a":1}', '{"a" :1}', '{"a":1.50}', '{"a":18446744073709551616}', "{"):
            self.assertIsNone(read_exactly(text.encode()), text)


class WriteTests(SynchronousTestCase):
    """What is written is the value."""

    @given(VALUES)
    def test_same(self, value: Any) -> None:
        """Read again it is what it was; what JSON cannot hold is still refused."""
        if _holds_nan(value):
            self.assertRaises(ValueError, dumps, value)
            return
        self.assertEqual(repr(json.loads(dumps(value))), repr(value))

    def test_which(self) -> None:
        """Nothing is told as what it is not."""
        for value in (None, [float("nan")], {"a": None}, 2**64, {1: 2}, "\ud800", object(), {1}):
            self.assertIsNone(write_exactly(value))
        self.assertEqual(write_exactly({"a": ["é", 1.5]}), '{"a":["é",1.5]}'.encode())


def _holds_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_holds_nan, value.values()))
    return isinstance(value, list) and any(map(_holds_nan, value))
