"""Alters inputs by chance, and makes an input that shows a mistake smaller."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

__all__ = ["Mutator", "smaller"]

MAX_SIZE: Final = 40_000
"""Longest altered input, in characters; bounds of size have tests of their own."""

NUMBERS: Final = (
    *("0", "-0", "-1", "1e400", "1e-400", "0.1", "00", "1.", "NaN", "Infinity"),
    *("2147483648", "4294967296", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775809", "9" * 401, "1" * 5000),
)

VALUES: Final[Sequence[Any]] = (
    *(None, True, False, 0, -1, 30, 59, 60, 601, 60.0, 2**63, -(2**63), 1.5, "", "a", "0"),
    *("a" * 300, "\ud800", "é", "/x/", [], {}, [[]], [{}], {"a": 1}, ["a", "b"], [None]),
    *([[{"expr": "true"}]], [{"fact": "a", "operator": "==", "value": "b"}], 1795570522),
)
"""What stands in place of a value of a document."""

TOKENS: Final = (
    *('"', "\\", "{", "}", "[", "]", ":", ",", "null", "true", "false", "\\u0000"),
    *("\\ud800", "\\udfff", "\\u017f", "\r", "\n", "\r\n", "\t", " ", "\0", "\x7f", "="),
    *("é", "\u017f", "\u212a", "\u2028", "\ufeff", "\U0001f600", "-----BEGIN ", "-----END "),
    *("[" * 70, '{"a":' * 70, "(" * 70, "%s", "..", "/", "*", ">", "$", "#", "|", "@"),
)
"""Stings for every layer."""


class Mutator:
    """Alters texts; text stands for bytes where its characters are below 256.

    :param rng: source of chance.
    :param tokens: words of the layer.
    :param binary: keep below 256.
    """

    def __init__(self, rng: random.Random, tokens: Sequence[str], *, binary: bool) -> None:
        self._rng = rng
        self._tokens = [*tokens, *TOKENS]
        self._binary = binary
        if binary:
            self._tokens = [each.encode().decode("latin-1") for each in self._tokens]
        self._ways: Sequence[Callable[[str], str]] = (
            self._char,
            self._char,
            self._insert,
            self._insert,
            self._replace,
            self._delete,
            self._repeat,
            self._cut,
            self._swap,
            self._number,
        )

    def altered(self, seeds: Sequence[str]) -> str:
        """Return one of the seeds, altered in one place or a few."""
        rng = self._rng
        text = rng.choice(seeds)
        if rng.random() < 0.1:
            other = rng.choice(seeds)
            text = text[: self._place(text)] + other[self._place(other) :]
        ways = self._ways
        if text[:1] == "{" and rng.random() < 0.4:
            ways = (self._document,)
        for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 5))):
            text = rng.choice(ways)(text)
        return text[:MAX_SIZE]

    def _place(self, text: str) -> int:
        return self._rng.randint(0, len(text))

    def _span(self, text: str) -> tuple[int, int]:
        begin = self._place(text)
        return begin, begin + self._rng.choice((1, 1, 2, 3, 5, 8, 20, 100))

    def _char(self, text: str) -> str:
        begin = self._place(text)
        most = 256 if self._binary else self._rng.choice((128, 256, 0x3000, 0x110000))
        number = self._rng.randrange(most)
        return f"{text[:begin]}{chr(number)}{text[begin + 1 :]}"

    def _insert(self, text: str) -> str:
        begin = self._place(text)
        return text[:begin] + self._rng.choice(self._tokens) + text[begin:]

    def _replace(self, text: str) -> str:
        begin, end = self._span(text)
        return text[:begin] + self._rng.choice(self._tokens) + text[end:]

    def _delete(self, text: str) -> str:
        begin, end = self._span(text)
        return text[:begin] + text[end:]

    def _repeat(self, text: str) -> str:
        begin, end = self._span(text)
        times = self._rng.choice((2, 2, 3, 10, 100))
        return text[:begin] + text[begin:end] * times + text[end:]

    def _cut(self, text: str) -> str:
        return text[: self._place(text)]

    def _swap(self, text: str) -> str:
        one, two = sorted((self._place(text), self._place(text)))
        three = min(len(text), two + (two - one))
        return text[:one] + text[two:three] + text[one:two] + text[three:]

    def _document(self, text: str) -> str:
        """Alter a value of a JSON document, which stays one."""
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            return self._char(text)
        if not found or not isinstance(found, dict):
            return self._char(text)
        inside, key = found, self._key(found)
        while isinstance(inside[key], (dict, list)) and inside[key] and self._rng.random() < 0.9:
            inside = inside[key]
            key = self._key(inside)
        way = self._rng.randrange(6)
        if way == 0:
            del inside[key]
        elif way == 1 and isinstance(inside, list):
            inside += [inside[key]] * self._rng.choice((1, 2, 50))
        elif way == 1:
            inside[self._rng.choice(self._tokens)] = inside[key]
        elif isinstance(inside[key], str) and way < 5:
            inside[key] = self._rng.choice(self._ways)(inside[key])
        else:
            inside[key] = self._rng.choice(VALUES)
        return json.dumps(found)

    def _key(self, inside: Any) -> Any:
        return self._rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))

    def _number(self, text: str) -> str:
        begin = next((at for at in range(self._place(text), len(text)) if text[at].isdigit()), None)
        if begin is None:
            return text + self._rng.choice(NUMBERS)
        end = begin
        while end < len(text) and text[end].isdigit():
            end += 1
        return text[:begin] + self._rng.choice(NUMBERS) + text[end:]


def smaller(text: str, shows: Callable[[str], bool], tries: int = 3000) -> str:
    """Return a shorter text that still shows the mistake.

    :param shows: whether a text does.
    :param tries: most texts that are tried.
    """
    size = max(1, len(text) // 2)
    while size and tries > 0:
        begin, found = 0, False
        while begin < len(text) and tries > 0:
            shorter = text[:begin] + text[begin + size :]
            tries -= 1
            if shows(shorter):
                text, found = shorter, True
            else:
                begin += size
        if not found or size > len(text):
            size //= 2
    return text
