"""An application's errors as text that callers and logs may see.

Error texts are made by drivers and libraries, which like to quote the URL or
the settings that they were given. What is known for a secret is masked, the rest
is on one line and bounded.
"""

from __future__ import annotations

from typing import Final

from twisted.python.failure import Failure

from backplane.choria.facts import mask
from backplane.choria.masking import MASK
from backplane.logs import printable

__all__ = ["describe"]

MAX_ERROR: Final = 300
"""Characters of an error text that are shown."""

_MAX_READ: Final = 4 * MAX_ERROR

_SCHEMES: Final = frozenset({"basic", "bearer", "digest", "token"})
"""Words between ``Authorization:`` and the secret."""


def describe(failure: Failure) -> str:
    """Return an error's type and message; never raises.

    Passwords of URLs, and what stands behind ``password=`` and the like, are masked.
    """
    name = getattr(failure.type, "__name__", "error")
    try:
        text = str(failure.value)[:_MAX_READ]
    except Exception:  # the errors of others may do anything
        return name
    shown = printable(_without_secrets(mask(text)), MAX_ERROR)
    return f"{name}: {shown}" if shown else name


def _without_secrets(text: str) -> str:
    words = text.split(" ")
    announced = False
    for place, word in enumerate(words):
        if announced and word not in ("", "=", ":"):
            words[place] = MASK
            announced = word.lower() in _SCHEMES
        elif word in ("=", ":"):
            announced = announced or (place > 0 and _is_secret(words[place - 1]))
        else:
            words[place], announced = _without_secret(word)
    return " ".join(words)


def _without_secret(word: str) -> tuple[str, bool]:
    """Mask a word from its first secret on, and say whether one comes after the word."""
    start = 0
    # As in the queries of URLs and the connection strings of databases.
    for end in (*(at for at, char in enumerate(word) if char in ";&?,"), len(word)):
        name, sign, _ = _parts(word[start:end])
        if sign and _is_secret(name):
            secret = start + len(name) + len(sign)
            value = word[secret:]
            return word[:secret] + (MASK if value else ""), not value or value.lower() in _SCHEMES
        start = end + 1
    return word, False


def _parts(word: str) -> tuple[str, str, str]:
    """Take ``name=value`` or ``name:value`` apart at its first sign."""
    place = min((at for sign in "=:" if (at := word.find(sign)) >= 0), default=-1)
    return (word, "", "") if place < 0 else (word[:place], word[place], word[place + 1 :])


def _is_secret(name: str) -> bool:
    """Say whether ``name``, without what quotes it, is that of a secret."""
    name = name.strip("'\"`{}[](),;")
    return bool(mask({name: ""})[name])
