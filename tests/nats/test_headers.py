"""P8: header blocks (ADR-4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.errors import HeadersError
from backplane.nats.headers import (
    Headers,
    check_block,
    decode_headers,
    encode_headers,
    fields_of,
)

keys = st.text([chr(code) for code in range(33, 127) if chr(code) != ":"], min_size=1)
values = st.text(max_size=30).filter(
    lambda text: (
        "\r" not in text
        and "\n" not in text
        and text == text.strip(" \t")
        and not any("\ud800" <= char <= "\udfff" for char in text)
    )
)


def readable(read: Callable[[bytes], object], block: bytes) -> bool:
    """Say whether a block can be read."""
    try:
        read(block)
    except HeadersError:
        return False
    return True


class DecodeTests(SynchronousTestCase):
    """Reading."""

    def test_fields(self) -> None:
        """Case is kept, repeats are kept, blanks around values are not."""
        headers = decode_headers(b"NATS/1.0\r\nKey: 1\r\nkey:2\r\nKey:  3 \r\nE:\r\nU: a:b\r\n\r\n")
        self.assertEqual(
            list(headers), [("Key", "1"), ("key", "2"), ("Key", "3"), ("E", ""), ("U", "a:b")]
        )
        self.assertEqual((headers.get("Key"), headers.get("KEY")), ("1", None))
        self.assertEqual(headers.get("none", "x"), "x")
        self.assertEqual(headers.get_all("Key"), ["1", "3"])
        self.assertIs(headers.status, None)

    def test_status(self) -> None:
        """A number and words, with any blanks between them."""
        for line, status, description in (
            (b"NATS/1.0 503", 503, ""),
            (b"NATS/1.0  404   No Messages", 404, "No Messages"),
            (b"NATS/1.0 100 Idle Heartbeat ", 100, "Idle Heartbeat"),
            (b"NATS/1.0\t408\tTimeout", 408, "Timeout"),
            (b"NATS/1.0 ", None, ""),
            (b"NATS/1.0", None, ""),
        ):
            headers = decode_headers(line + b"\r\n\r\n")
            self.assertEqual((headers.status, headers.description), (status, description), line)

    def test_bad_bytes(self) -> None:
        """What is not UTF-8 is replaced."""
        headers = decode_headers(b"NATS/1.0\r\nK: \xe9\r\n\r\n")
        self.assertEqual(headers.get("K"), "\ufffd")

    def test_refused(self) -> None:
        """No version, no end, no colon, no key, no number."""
        for block in (
            b"",
            b"\r\n\r\n",
            b"NATS/1.0",
            b"NATS/1.0\r\n",
            b"NATS/1.0\r\nK: v\r\n",
            b"nats/1.0\r\n\r\n",
            b"NATS/1.1\r\n\r\n",
            b"NATS/1.0x\r\n\r\n",
            b"NATS/1.0 5\r\n\r\n",
            b"NATS/1.0 \xd9\xa5\xd9\xa0\xd9\xa3\r\n\r\n",
            b"NATS/1.0 50x\r\n\r\n",
            b"NATS/1.0\r\nnovalue\r\n\r\n",
            b"NATS/1.0\r\n: v\r\n\r\n",
        ):
            self.assertRaises(HeadersError, decode_headers, block)

    @given(st.binary(max_size=80) | st.text("N 1:\r\n\t05", max_size=20).map(str.encode))
    def test_garbage(self, data: bytes) -> None:
        """Whatever comes, it is headers or one error; checking alone says the same."""
        for block in (
            data,
            b"NATS/1.0" + data + b"\r\n\r\n",
            b"NATS/1.0\r\n" + data + b"\r\n\r\n",
        ):
            if readable(decode_headers, block):
                check_block(block)
            else:
                self.assertRaises(HeadersError, check_block, block)


class EncodeTests(SynchronousTestCase):
    """Writing."""

    def test_written(self) -> None:
        """One line for each value."""
        self.assertEqual(
            encode_headers({"A": "1", "B": ["2", " 3 "], "C": ""}),
            b"NATS/1.0\r\nA: 1\r\nB: 2\r\nB: 3\r\nC: \r\n\r\n",
        )
        self.assertEqual(encode_headers({}), b"NATS/1.0\r\n\r\n")
        self.assertEqual(
            encode_headers(Headers((("A", "1"),), 503, "No")), b"NATS/1.0 503 No\r\nA: 1\r\n\r\n"
        )

    def test_refused(self) -> None:
        """Nothing can be smuggled in."""
        for key in ("", "a b", "a:", "a\r\nB", "é", "a\x7f", "\x00"):
            self.assertRaises(HeadersError, encode_headers, {key: "v"})
        for value in ("a\r\nB: c", "\n", "\r", "a\nb", "\ud800"):
            self.assertRaises(HeadersError, encode_headers, {"K": value})
        for status in (Headers((), -1), Headers((), 1000), Headers((), 1, "a\r\nB: c")):
            self.assertRaises(HeadersError, encode_headers, status)

    def test_forms(self) -> None:
        """A mapping, headers and a block say the same; other things are none."""
        fields = [("A", "1"), ("B", "2"), ("B", "3")]
        given: dict[str, Any] = {"A": "1", "B": ("2", "3")}
        for form in (given, Headers(tuple(fields)), encode_headers(given)):
            self.assertEqual(fields_of(form), fields)
        self.assertRaises(HeadersError, fields_of, b"A: 1")
        others: list[Any] = [None, 1, "A: 1", fields, {"A": 1}, {"A": [b"1"]}, {b"A": "1"}]
        for other in others:
            self.assertRaises(TypeError, fields_of, other)

    @given(st.lists(st.tuples(keys, values)))
    def test_round_trip(self, fields: list[tuple[str, str]]) -> None:
        """What is written is read again."""
        headers = Headers(tuple(fields))
        self.assertEqual(decode_headers(encode_headers(headers)), headers)
