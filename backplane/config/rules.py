"""What a text of the configuration must be.

A rule says what is wanted instead of a text, or ``None`` when the text is
right. What is said of a file is why it cannot be used, or ``None``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from backplane.config.settings import FullPolicy
from backplane.patterns import PatternError, compile_pattern

__all__ = [
    "FULL",
    "LOG_LEVELS",
    "MAX_IDENTITY",
    "Rule",
    "factory_rule",
    "full_rule",
    "identity_rule",
    "level_rule",
    "name_rule",
    "path_rule",
    "pattern_rule",
    "scheme_rule",
    "subject_rule",
    "why_not_readable",
    "why_not_writable",
]

Rule = Callable[[str], "str | None"]

MAX_IDENTITY: Final = 255
"""Longest identity, in characters; it becomes a part of a subject."""

LOG_LEVELS: Final[Mapping[str, str]] = {
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "critical": "critical",
    "fatal": "critical",
}
"""Words for the level of the backplane's log, the last two pairs as in Go's libraries."""

FULL: Final[Mapping[str, FullPolicy]] = {
    "wait": "wait",
    "drop_oldest": "drop_oldest",
    "drop_newest": "drop_newest",
}
"""What an outbox does for which there is no room."""

SCHEMES: Final = ("file", "manual", "puppet")

# Python's `re` is good enough here: the patterns are ours and linear.
_APP_NAME: Final = re.compile(r"[a-z0-9]+")
_IDENTITY: Final = re.compile(r"[\w\-]+(\.[\w\-]+)*", re.ASCII)
_LITERAL: Final = re.compile(r"[A-Za-z0-9_\-.]+")


def name_rule(text: str) -> str | None:
    good = _APP_NAME.fullmatch(text)
    return None if good else "a name of lower-case letters and digits, ^[a-z0-9]+$"


def identity_rule(text: str) -> str | None:
    if len(text) <= MAX_IDENTITY and _IDENTITY.fullmatch(text):
        return None
    return (
        r"ASCII letters, digits, '_', '-' and single dots inside, ^[\w.\-]+$, "
        f"{MAX_IDENTITY} characters at most"
    )


def scheme_rule(text: str) -> str | None:
    return None if text in SCHEMES else f"one of {', '.join(SCHEMES)}"


def level_rule(text: str) -> str | None:
    return None if text.lower() in LOG_LEVELS else "one of debug, info, warn, error, critical"


def full_rule(text: str) -> str | None:
    return None if text in FULL else f"one of {', '.join(FULL)}"


def path_rule(text: str) -> str | None:
    try:
        bad = b"\0" in os.fsencode(text)
    except UnicodeEncodeError:
        bad = True
    return "a path of characters that file names may have" if bad else None


def factory_rule(text: str) -> str | None:
    module, colon, factory = text.partition(":")
    names = [*module.split("."), *factory.split(".")]
    good = colon and all(name.isidentifier() for name in names)
    return None if good else "package.module:factory"


def subject_rule(text: str) -> str | None:
    tokens = text.split(".")
    bad = "" in tokens or ">" in tokens[:-1] or not text.isprintable() or " " in text
    return "a subject without blanks and empty parts, > only at its end" if bad else None


def pattern_rule(text: str) -> str | None:
    """Refuse what an authorisation list cannot mean, as its reader will."""
    if _LITERAL.fullmatch(text):
        return None
    try:
        compiled = compile_pattern(text)
    except PatternError as error:
        return f"a name or a regular expression ({error})"
    if compiled.fullmatch("") is not None:
        return "a pattern that does not match the empty string, as one that allows everyone does"
    return None


def why_not_readable(path: str) -> str | None:
    if not os.path.exists(path):
        return "which does not exist"
    if os.path.isdir(path):
        return "which is a directory"
    return None if _may(path, os.R_OK) else "which may not be read"


def why_not_writable(path: str) -> str | None:
    folder = os.path.dirname(path) or os.curdir
    if os.path.isdir(path):
        return "which is a directory"
    if os.path.exists(path):
        return None if _may(path, os.W_OK) else "which may not be written"
    if not os.path.isdir(folder):
        return f"in {folder!r}, which is no directory"
    return None if _may(folder, os.W_OK | os.X_OK) else f"in {folder!r}, not writable"


def _may(path: str, how: int) -> bool:
    # Not as whoever started us, but with the rights that we have, such as CAP_DAC_READ_SEARCH.
    if os.access in os.supports_effective_ids:
        return os.access(path, how, effective_ids=True)
    return os.access(path, how)
