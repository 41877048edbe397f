"""Strict JSON and base64: what is refused, at which bound, and at what cost."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import documents
from backplane.choria.documents import (
    MAX_BODY,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_PAYLOAD,
    MAX_VALUES,
    check_keys,
    decode_base64,
    dumps,
    integer,
    nested,
    parse_object,
    text,
)
from backplane.errors import DecodeError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)

REASONS = {
    "too_large",
    "not_utf8",
    "too_deep",
    "duplicate_key",
    "case_variant_key",
    "bad_number",
    "not_json",
    "not_object",
}


class RefusalCase(SynchronousTestCase):
    """Asks for the reason of a refusal."""

    def refused(self, reason: str, function: Any, *args: Any, **named: Any) -> DecodeError:
        """``function`` raises DecodeError with this reason, this layer and a short text."""
        error = self.assertRaises(DecodeError, function, *args, **named)
        assert isinstance(error, DecodeError)
        self.assertEqual((error.reason, error.layer), (reason, "layer"))
        self.assertLess(len(str(error)), 200)
        return error


class ParseObjectTests(RefusalCase):
    """What is a document and what is not."""

    def test_plain(self) -> None:
        """A peer's document is read as any JSON parser reads it, from bytes and from text."""
        document = '{"a": [1, -2.5, "é\\u00e9\\n", true, null, {}], "": 1e3}'
        wanted = {"a": [1, -2.5, "éé\n", True, None, {}], "": 1000.0}
        self.assertEqual(parse_object(document, "layer"), wanted)
        self.assertEqual(parse_object(document.encode(), "layer"), wanted)

    def test_not_objects(self) -> None:
        """Any other JSON value is refused."""
        for document in ("null", "true", "1", '"{}"', "[]", "[{}]"):
            self.refused("not_object", parse_object, document, "layer")

    def test_not_json(self) -> None:
        """What a lenient parser would take for JSON is refused."""
        for document in (
            *("", " ", "{", "}", '{"a":1}x', "{'a':1}", "{a:1}", '{"a":1,}', "\ufeff{}"),
            *('{"a":"\n"}', '{"a":"\\x"}', '{"a":01}', '{"a":.5}', '{"a":+1}', "{}//", "{}{}"),
        ):
            self.refused("not_json", parse_object, document, "layer")

    def test_not_utf8(self) -> None:
        """Bytes that are not UTF-8, surrogates written as three bytes included, are refused."""
        for document in (b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'\xff\xfe{\x00"\x00'):
            self.refused("not_utf8", parse_object, document, "layer")

    def test_constants(self) -> None:
        """NaN and the infinities are no JSON."""
        for word in ("NaN", "Infinity", "-Infinity"):
            self.refused("bad_number", parse_object, f'{{"a":[{word}]}}', "layer")

    def test_duplicate_keys(self) -> None:
        """The same key twice is refused at every level, however it is escaped."""
        for document in ('{"a":1,"a":1}', '{"x":[{"a":1,"b":2,"a":3}]}', '{"a":1,"\\u0061":2}'):
            self.refused("duplicate_key", parse_object, document, "layer")
        self.assertEqual(parse_object('{"a":{"a":1},"A":1}', "layer"), {"a": {"a": 1}, "A": 1})

    def test_case_variant_keys(self) -> None:
        """A key that a Go peer would take for a known one is refused; a strange one is not."""
        known = ("ttl", "callerid", "kind")
        for key in ("TTL", "Ttl", "callerID", "\u212aind", "KIND"):
            self.refused("case_variant_key", parse_object, dumps({key: 1}), "layer", known=known)
        self.refused("case_variant_key", check_keys, {"re\u017fponse": 1}, "layer", ["response"])
        self.assertEqual(parse_object('{"tt":1,"ttls":2,"ttl":3}', "layer", known=known)["ttl"], 3)

    @settings(deadline=None)
    @given(st.binary(max_size=200) | st.text(max_size=200))
    def test_anything(self, document: str | bytes) -> None:
        """Anything gives an object or the one error, with a reason that is documented."""
        try:
            self.assertIsInstance(parse_object(document, "layer", known=("a",)), dict)
        except DecodeError as error:
            self.assertIn(error.reason, REASONS)

    @settings(deadline=None)
    @given(st.dictionaries(st.text(), JSON, max_size=6))
    def test_all_objects(self, value: dict[str, Any]) -> None:
        """Every object that is written is read back, and so is the form with plain Unicode."""
        self.assertEqual(parse_object(dumps(value), "layer"), value)
        self.assertEqual(parse_object(json.dumps(value, ensure_ascii=False), "layer"), value)


class BoundTests(RefusalCase):
    """Each bound at its value and one beyond it, and what the worst case costs."""

    def not_parsed(self) -> None:
        """From here on no JSON parser runs."""
        self.patch(documents, "json", None)

    def test_size(self) -> None:
        """A document of 8 MiB is read; one byte more is refused before it is looked at."""
        full = b'{"a":"' + b"x" * (MAX_PAYLOAD - 8) + b'"}'
        self.assertEqual(len(full), MAX_PAYLOAD)
        self.assertEqual(len(parse_object(full, "layer")["a"]), MAX_PAYLOAD - 8)
        self.assertEqual(MAX_BODY, MAX_PAYLOAD)
        self.not_parsed()
        self.refused("too_large", parse_object, full + b" ", "layer")
        self.refused("too_large", parse_object, b"\xff" * (MAX_PAYLOAD + 1), "layer")
        self.refused("too_large", parse_object, "x" * 11, "layer", max_size=10)

    def test_depth(self) -> None:
        """64 levels are read, 65 are refused."""
        for start, end in (('{"a":', "}"), ('{"b":1,"a":[', "]}")):
            levels = start.count("{") + start.count("[")
            times = MAX_DEPTH // levels
            least = start * times + "1" + end * times
            parse_object(least, "layer")
            self.refused("too_deep", parse_object, f'{{"a":{least}}}', "layer")

    def test_brackets_in_text(self) -> None:
        """Brackets inside strings are text, whatever escapes stand around them."""
        for inner in ("[" * 100, '\\"' + "{" * 100, "\\\\\\\\" + "[" * 100, '[\\\\\\"[' * 40):
            self.assertEqual(len(parse_object(f'{{"a":"{inner}"}}', "layer")), 1)
        self.refused("too_deep", parse_object, '{"a\\\\":' * 65 + "1" + "}" * 65, "layer")

    def test_many_shallow(self) -> None:
        """Many objects side by side are not deep."""
        document = '{"a":[' + "[]," * 5000 + "{}]}"
        self.assertEqual(len(parse_object(document, "layer")["a"]), 5001)

    def test_deepest(self) -> None:
        """8 MiB of opening brackets are refused by counting; nothing is parsed."""
        self.not_parsed()
        self.refused("too_many_values", parse_object, b"[" * MAX_PAYLOAD, "layer")
        self.refused("too_many_values", parse_object, b'{"a":' * (MAX_PAYLOAD // 5), "layer")
        self.refused("too_deep", parse_object, b"[" * MAX_VALUES, "layer")

    def test_values(self) -> None:
        """Values are counted before they are made; commas and brackets in text are none."""
        least = '{"a":[' + "[]," * (MAX_VALUES // 2 - 2) + '"' + "[,{" * MAX_VALUES + '"]}'
        self.assertEqual(len(parse_object(least, "layer")["a"]), MAX_VALUES // 2 - 1)
        more = least.replace("[],", "[],[],[],", 1)
        parse_object(more, "layer", max_values=MAX_VALUES + 10)
        self.not_parsed()
        self.refused("too_many_values", parse_object, more, "layer")

    def test_deep_and_unended(self) -> None:
        """A string without end hides nothing from the count and ends it."""
        self.refused("not_json", parse_object, '{"a":[' + "[]," * 70 + '"' + "[" * 10**6, "layer")
        backslashes = "\\" * (2 * 10**6 + 1)
        self.refused("not_json", parse_object, f'["{backslashes}"{"[]," * 70}', "layer")

    def test_recursion(self) -> None:
        """Should the parser itself find it too deep, that is the same refusal."""

        def deep(document: str) -> None:
            raise RecursionError

        self.patch(documents, "_read", deep)
        self.refused("too_deep", parse_object, "{ }", "layer")

    def test_digits(self) -> None:
        """A number of 400 digits is read, one more is refused, a million as quickly."""
        for digits in ("9" * MAX_DIGITS, "-" + "9" * (MAX_DIGITS - 1)):
            self.assertEqual(parse_object(f'{{"a":{digits}}}', "layer"), {"a": int(digits)})
        for digits in (
            "9" * (MAX_DIGITS + 1),
            "9" * 10**6,
            "0." + "9" * MAX_DIGITS,
            "0." + "9" * 10**6,
            "1e" + "0" * 10**6 + "1",
        ):
            self.refused("bad_number", parse_object, f'{{"a":{digits}}}', "layer")

    def test_doubles(self) -> None:
        """A fraction that no double can hold is refused instead of read as infinite."""
        self.assertEqual(parse_object('{"a":1e308}', "layer"), {"a": 1e308})
        self.assertEqual(parse_object('{"a":1e-999999999}', "layer"), {"a": 0.0})
        for number in ("1e309", "-1e309", "1e999999999"):
            self.refused("bad_number", parse_object, f'{{"a":{number}}}', "layer")


class FieldTests(RefusalCase):
    """Fields of the types that the protocol has."""

    def test_text(self) -> None:
        """Text is text, perhaps of a least length; what Go cannot hold becomes U+FFFD."""
        self.assertEqual(text({"a": "é😀"}, "a", "layer"), "é😀")
        self.assertEqual(text({"a": "\ud800x\udfff"}, "a", "layer"), "\ufffdx\ufffd")
        self.assertEqual(text({}, "a", "layer", default="d"), "d")
        self.assertEqual(text({"a": "x"}, "a", "layer", least=1), "x")
        self.refused("missing_field", text, {"b": "x"}, "a", "layer")
        self.refused("bad_field", text, {"a": ""}, "a", "layer", least=1)
        values: tuple[object, ...] = (None, 1, True, [], {}, ["x"])
        for value in values:
            self.refused("bad_field", text, {"a": value}, "a", "layer")
            self.refused("bad_field", text, {"a": value}, "a", "layer", default="d")

    def test_integer(self) -> None:
        """A 64-bit integer, and nothing that only looks like one."""
        for value in (0, -1, 2**63 - 1, -(2**63)):
            self.assertEqual(integer({"a": value}, "a", "layer"), value)
        wrongs: tuple[object, ...] = (2**63, -(2**63) - 1, 60.0, True, "60", None, [])
        for wrong in wrongs:
            self.refused("bad_field", integer, {"a": wrong}, "a", "layer")
        self.refused("missing_field", integer, {}, "a", "layer")

    def test_nested(self) -> None:
        """An object whose keys are checked, too."""
        self.assertEqual(nested({"a": {"x": 1}}, "a", "layer", ("x",)), {"x": 1})
        self.refused("missing_field", nested, {}, "a", "layer", ())
        self.refused("case_variant_key", nested, {"a": {"X": 1}}, "a", "layer", ("x",))
        wrongs: tuple[object, ...] = (None, [], "x", 1)
        for wrong in wrongs:
            self.refused("bad_field", nested, {"a": wrong}, "a", "layer", ())

    def test_base64(self) -> None:
        """Line ends are skipped, all else that is not standard base64 is refused."""
        self.assertEqual(decode_base64("cGlu\r\nZw==\n", "layer"), b"ping")
        for wrong in ("cGluZw", "cGluZ w==", "cGluZw==x", "_-8=", "é===", "\ud800"):
            self.refused("bad_base64", decode_base64, wrong, "layer")
        lines = "\n".join(["A" * 60] * 1000)
        self.assertEqual(len(decode_base64(lines, "layer")), 45_000)

    @settings(deadline=None)
    @given(st.binary(max_size=300))
    def test_all_base64(self, data: bytes) -> None:
        """All bytes come back, wrapped as Ruby wraps them or not."""
        self.assertEqual(decode_base64(base64.b64encode(data).decode(), "layer"), data)
        self.assertEqual(decode_base64(base64.encodebytes(data).decode(), "layer"), data)

    def test_dumps(self) -> None:
        """Compact; what is not JSON is an error of the caller."""
        self.assertEqual(dumps({"a": [1, "é"]}), '{"a":[1,"é"]}')
        self.assertEqual(dumps({"a": "\ud800"}), '{"a":"\\ud800"}')
        self.assertEqual(dumps({"a": 2**70}), '{"a":1180591620717411303424}')
        self.assertEqual(dumps({"a": None, 1: True}), '{"a":null,"1":true}')
        self.assertRaises(ValueError, dumps, float("nan"))
        self.assertRaises(TypeError, dumps, {"a": object()})
