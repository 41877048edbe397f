"""Strict JSON and base64: the first things that a stranger's message meets.

Real peers write plain JSON. What only an attacker or a bug writes is refused:
duplicate keys, keys that a Go peer would take for a known one (it folds case),
numbers that are none, depth without end, text that is not UTF-8. Sizes are
checked before anything is parsed.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn

from backplane.choria.exactjson import read_exactly, write_exactly
from backplane.errors import DecodeError

__all__ = [
    "MAX_BODY",
    "MAX_BODY_VALUES",
    "MAX_DEPTH",
    "MAX_PAYLOAD",
    "MAX_VALUES",
    "decode_base64",
    "dumps",
    "integer",
    "nested",
    "parse_object",
    "quoted",
    "text",
]

MAX_PAYLOAD: Final = 8 * 1024 * 1024
"""Largest transport document, in bytes. Brokers take 1 MiB by default and Choria
recommends no more; 8 MiB leaves room for the largest setting that nats-server
does not warn about."""

MAX_BODY: Final = MAX_PAYLOAD
"""Largest inner document, in characters; it cannot exceed what it travels in."""

MAX_DEPTH: Final = 64
"""Deepest nesting. Genuine messages have five levels; facts in a reply some more."""

MAX_VALUES: Final = 20_000
"""Most values of a document. The largest filter has some thousands; reading a megabyte
of empty lists would take a thousand times as long as verifying a signature."""

MAX_BODY_VALUES: Final = 250_000
"""The same of a body, which holds facts or inputs and comes from those who are known."""

MAX_DIGITS: Final = 400
"""Digits of the longest number: a double has at most 309 before its point."""


def parse_object(
    document: str | bytes,
    layer: str,
    *,
    known: Collection[str] = (),
    max_size: int = MAX_PAYLOAD,
    max_values: int = MAX_VALUES,
) -> dict[str, Any]:
    """Parse a JSON object.

    :param layer: name of the document, for errors.
    :param known: its keys; a key that differs from one of them only in case is refused.
    :param max_size: most bytes, or characters of a ``str``.
    :param max_values: most values in all.
    :raises DecodeError: with the reason ``too_large``, ``not_utf8``, ``too_many_values``,
        ``too_deep``, ``duplicate_key``, ``case_variant_key``, ``bad_number``, ``not_json`` or
        ``not_object``.
    """
    if len(document) > max_size:
        raise DecodeError("too_large", layer, f"{len(document)} bytes, more than {max_size}")
    value = _read_quickly(document, max_values)
    if value is None:
        value = _read_carefully(document, layer, max_values)
    if not isinstance(value, dict):
        raise DecodeError("not_object", layer, "not a JSON object")
    if known:
        check_keys(value, layer, known)
    return value


def _read_quickly(document: str | bytes, max_values: int) -> Any:
    """Return the value of a document that keeps all bounds, or ``None`` to be careful."""
    if isinstance(document, str):
        try:
            document = document.encode("utf-8")
        except UnicodeEncodeError:
            return None
    openers = document.count(b"{") + document.count(b"[")
    if openers > MAX_DEPTH or (
        len(document) > max_values and openers + document.count(b",") > max_values
    ):
        return None
    return read_exactly(document)


def _read_carefully(document: str | bytes, layer: str, max_values: int) -> Any:
    if isinstance(document, bytes):
        try:
            document = document.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DecodeError("not_utf8", layer, f"not UTF-8 at byte {error.start}") from None
    _check_structure(document, layer, max_values)
    try:
        return _read(document)
    except _Refused as error:
        raise DecodeError(error.reason, layer, error.detail) from None
    except ValueError as error:
        raise DecodeError("not_json", layer, f"not JSON: {error}") from None
    except RecursionError:
        raise DecodeError("too_deep", layer, f"more than {MAX_DEPTH} levels") from None


class _Refused(Exception):
    """Ends the reading of a document whose layer is not known here."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


def _constant(constant: str) -> NoReturn:
    raise _Refused("bad_number", f"{constant} is not JSON")


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(items)
    if len(result) != len(items):
        raise _Refused("duplicate_key", "an object has the same key twice")
    return result


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused("bad_number", f"a number of {len(digits)} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits) if len(digits) <= MAX_DIGITS else math.inf
    if math.isinf(number):
        raise _Refused("bad_number", "a number that no double can hold")
    return number


# Made once: that takes longer than reading a request.
_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_whole, parse_float=_fraction
)
_write: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_BLANKS: Final = " \t\r\n"


def _read(document: str) -> Any:
    document = document.strip(_BLANKS)
    value, end = _decoder.raw_decode(document)
    if end != len(document):
        raise ValueError(f"something after it, at character {end}")
    return value


def check_keys(value: Mapping[str, Any], layer: str, known: Collection[str]) -> None:
    """Refuse keys that a peer which folds case would take for a known one.

    Go folds the long s and the Kelvin sign, too.

    :raises DecodeError: with the reason ``case_variant_key``.
    """
    for key in value:
        if key not in known and key.casefold() in known:
            raise DecodeError("case_variant_key", layer, f"the key {key[:40]!r}")


def _check_structure(document: str, layer: str, max_values: int) -> None:
    # Escapes go, then every second part between quotes is text; what is left is structure.
    plain = document.replace("\\\\", "").replace('\\"', "")
    structure = "".join(plain.split('"')[::2])
    openers = structure.count("{") + structure.count("[")
    if openers + structure.count(",") > max_values:
        raise DecodeError("too_many_values", layer, f"more than {max_values} values")
    if openers <= MAX_DEPTH:
        return
    depth = 0
    for char in structure:
        if char in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise DecodeError("too_deep", layer, f"more than {MAX_DEPTH} levels")
        elif char in "}]":
            depth -= 1


def text(
    value: Mapping[str, Any], key: str, layer: str, *, least: int = 0, default: str | None = None
) -> str:
    """Return a text field; lone surrogates become U+FFFD, as in Go.

    :param least: fewest characters.
    :param default: for an absent key; without it the key is required.
    :raises DecodeError: with the reason ``missing_field`` or ``bad_field``.
    """
    found = value.get(key, default)
    if isinstance(found, str) and found.isascii() and len(found) >= least:
        return found
    if found is None and key not in value:
        raise DecodeError("missing_field", layer, f"{key} is missing")
    if not isinstance(found, str):
        raise DecodeError("bad_field", layer, f"{key} is not text")
    if len(found) < least:
        raise DecodeError("bad_field", layer, f"{key} is shorter than {least} characters")
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def integer(value: Mapping[str, Any], key: str, layer: str) -> int:
    """Return a required 64-bit integer; ``60.0`` and ``true`` are none.

    :raises DecodeError: with the reason ``missing_field`` or ``bad_field``.
    """
    if key not in value:
        raise DecodeError("missing_field", layer, f"{key} is missing")
    found = value[key]
    if not isinstance(found, int) or isinstance(found, bool) or not -(2**63) <= found < 2**63:
        raise DecodeError("bad_field", layer, f"{key} is not a 64-bit integer")
    return found


def nested(
    value: Mapping[str, Any], key: str, layer: str, known: Collection[str]
) -> dict[str, Any]:
    """Return a required object.

    :raises DecodeError: with the reason ``missing_field``, ``bad_field`` or ``case_variant_key``.
    """
    if key not in value:
        raise DecodeError("missing_field", layer, f"{key} is missing")
    found = value[key]
    if not isinstance(found, dict):
        raise DecodeError("bad_field", layer, f"{key} is not an object")
    check_keys(found, layer, known)
    return found


_LINE_ENDS: Final = str.maketrans("", "", "\r\n")


def decode_base64(encoded: str, layer: str) -> bytes:
    """Decode standard base64 with padding; CR and LF are skipped, all else is an error.

    :raises DecodeError: with the reason ``bad_base64``.
    """
    if "\n" in encoded or "\r" in encoded:
        encoded = encoded.translate(_LINE_ENDS)
    try:
        if len(encoded) % 4:  # Python 3.10 takes a lone "=" for padding
            raise ValueError("incomplete")
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError("bad_base64", layer, "not standard base64") from None


def dumps(value: object) -> str:
    """Return compact JSON text.

    :raises TypeError: for a value that JSON cannot hold.
    :raises ValueError: for NaN, infinities and cycles.
    """
    document = write_exactly(value)
    return _write(value) if document is None else document.decode()


def quoted(text: str) -> str:
    """Return the JSON of a text."""
    return dumps(text)
