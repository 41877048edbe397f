"""Words of the expression language: the first half of reading it.

The language is expr-lang 1.17, as Choria's peers use it for ``-S``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from backplane.errors import RemoteError

__all__ = ["MAX_EXPRESSION", "MAX_TOKENS", "ExpressionError", "Token", "tokens"]

MAX_EXPRESSION: Final = 4096
"""Longest expression, in characters; people type up to a few hundred."""

MAX_TOKENS: Final = 400
"""Most words of an expression. Reading one costs a few microseconds."""


class ExpressionError(RemoteError):
    """An expression that cannot be read, or fails on this node."""


class Token(NamedTuple):
    """A word; ``kind`` is ``name``, ``number``, ``text``, ``operator``, ``bracket`` or ``end``."""

    kind: str
    text: str
    value: int | float | str | None = None


WORDS: Final = frozenset(
    ["in", "or", "and", "matches", "contains", "startsWith", "endsWith", "not", "let", "if", "else"]
)
_TWO: Final = frozenset(("==", "!=", "<=", ">=", "&&", "||", "**", "??", "?.", "..", "::"))
_ONE: Final = frozenset("+-*/%^<>=!?:,;.#|")
_ESCAPES: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "`": "`",
    "?": "?",
}
_BASES: Final = {"x": 16, "b": 2, "o": 8}


def tokens(text: str) -> list[Token]:
    """Return the words of ``text``, with an ``end`` behind them.

    :raises ExpressionError: when there are none such, or too many.
    """
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"an expression of more than {MAX_EXPRESSION} characters")
    result: list[Token] = []
    position = 0
    while True:
        position = _skip(text, position)
        if position >= len(text):
            result.append(Token("end", ""))
            return result
        if len(result) >= MAX_TOKENS:
            raise ExpressionError(f"an expression of more than {MAX_TOKENS} words")
        token, position = _token(text, position)
        result.append(token)


def _skip(text: str, position: int) -> int:
    """Return where the next word begins, beyond blanks and comments."""
    while position < len(text):
        if text[position].isspace():
            position += 1
        elif text.startswith("//", position):
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
        elif text.startswith("/*", position):
            end = text.find("*/", position + 2)
            if end < 0:
                raise ExpressionError("a comment that does not end")
            position = end + 2
        else:
            break
    return position


def _token(text: str, start: int) -> tuple[Token, int]:
    char = text[start]
    after = text[start + 1 : start + 2]
    if char.isalpha() or char in "_$":
        end = start + 1
        while end < len(text) and (text[end].isalnum() or text[end] in "_$"):
            end += 1
        name = text[start:end]
        return Token("operator" if name in WORDS else "name", name), end
    if char in "0123456789" or (char == "." and after and after in "0123456789"):
        return _number(text, start)
    if char in "\"'":
        return _quoted(text, start)
    if char == "`":
        return _raw(text, start)
    if char in "()[]{}":
        return Token("bracket", char), start + 1
    if char + after in _TWO:
        return Token("operator", char + after), start + 2
    if char in _ONE:
        return Token("operator", char), start + 1
    raise ExpressionError(f"an unknown character {char!r}")


def _number(text: str, start: int) -> tuple[Token, int]:
    end = start
    base = _BASES.get(text[start + 1 : start + 2].lower(), 10) if text[start] == "0" else 10
    if base != 10:
        end = start + 2
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        return _finish(text, start, end, base)
    while end < len(text):
        char = text[end]
        range_follows = char == "." and text[end + 1 : end + 2] == "."
        if char in "0123456789_" or (char == "." and not range_follows):
            end += 1
        elif char in "eE":
            end += 2 if text[end + 1 : end + 2] in ("+", "-") else 1
        elif char.isalpha():
            raise ExpressionError("a number that runs into a word")
        else:
            break
    return _finish(text, start, end, 10)


def _finish(text: str, start: int, end: int, base: int) -> tuple[Token, int]:
    digits = text[start:end].replace("_", "")
    if len(digits) > 100:
        raise ExpressionError("a number of more than 100 digits")
    try:
        if base == 10 and any(char in digits for char in ".eE"):
            return Token("number", digits, float(digits)), end
        number = int(digits[2:] if base != 10 else digits, base)
    except ValueError:
        raise ExpressionError("a malformed number") from None
    if number >= 1 << 63:
        raise ExpressionError("an integer that is too large")
    return Token("number", digits, number), end


def _raw(text: str, start: int) -> tuple[Token, int]:
    end = text.find("`", start + 1)
    while end >= 0 and text.startswith("``", end):
        end = text.find("`", end + 2)
    if end < 0:
        raise ExpressionError("a text that does not end")
    value = text[start + 1 : end].replace("``", "`")
    return Token("text", "a text", value), end + 1


def _quoted(text: str, start: int) -> tuple[Token, int]:
    quote = text[start]
    chars: list[str] = []
    position = start + 1
    while position < len(text):
        char = text[position]
        if char == quote:
            return Token("text", "a text", "".join(chars)), position + 1
        if char == "\n":
            break
        if char == "\\":
            char, position = _escape(text, position + 1)
        else:
            position += 1
        chars.append(char)
    raise ExpressionError("a text that does not end")


_HEX_DIGITS: Final = {"x": 2, "u": 4, "U": 8}


def _escape(text: str, position: int) -> tuple[str, int]:
    """Return the character of an escape, ``position`` being behind its backslash."""
    letter = text[position : position + 1]
    if letter in _ESCAPES and letter:
        return _ESCAPES[letter], position + 1
    if letter == "u" and text.startswith("{", position + 1):
        end = text.find("}", position, position + 10)
        digits, end = text[position + 2 : max(end, 0)], end + 1
    elif letter in _HEX_DIGITS and letter:
        end = position + 1 + _HEX_DIGITS[letter]
        digits = text[position + 1 : end].rjust(_HEX_DIGITS[letter], "?")
    elif letter and letter in "0123":
        end = position + 3
        digits = text[position:end]
        if len(digits) == 3 and all(digit in "01234567" for digit in digits):
            return chr(int(digits, 8)), end
        digits = ""
    else:
        digits, end = "", 0
    if digits and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        code = int(digits, 16)
        if code <= 0x10FFFF and not 0xD800 <= code < 0xE000:
            return chr(code), end
    raise ExpressionError("an unknown escape in a text")
