"""RE2 regular expressions with bounds, for patterns that strangers may send.

Choria's peers use Go's RE2. Python's ``re`` backtracks and folds case
differently, so it is never used on a pattern from the network. Linear time
alone is not enough: a pattern of 42 characters took 17.8 s on a text of 1 MB,
so pattern, compiled program and subject are bounded and compiled patterns are
cached.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol, cast

import re2

from backplane.errors import BackplaneError

__all__ = [
    "MAX_PATTERN",
    "MAX_PROGRAM",
    "MAX_SUBJECT",
    "Pattern",
    "PatternError",
    "compile_pattern",
    "matches_whole",
    "search",
]

MAX_PATTERN: Final = 2048
"""Longest pattern, in characters; people write far shorter ones."""

MAX_PROGRAM: Final = 2000
"""Largest compiled program, in RE2 instructions; the cost of a search is about
program size times subject size."""

MAX_SUBJECT: Final = 16 * 1024
"""Longest text that is searched, in characters; a longer one does not match."""

_CACHE_SIZE: Final = 256


class PatternError(BackplaneError, ValueError):
    """The pattern is not RE2, or is larger than the bounds allow."""


class Pattern(Protocol):
    """The part of a compiled RE2 pattern that is used here."""

    programsize: int

    def search(self, text: str) -> object | None: ...

    def fullmatch(self, text: str) -> object | None: ...


def _options(ignore_case: bool) -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = 8 << 20
    return options


@lru_cache(maxsize=_CACHE_SIZE)
def _compile(pattern: str, ignore_case: bool) -> Pattern | str:
    # Failures are cached too: a bad pattern sent again costs a look-up.
    if len(pattern) > MAX_PATTERN:
        return f"longer than {MAX_PATTERN} characters"
    try:
        compiled = cast(Pattern, re2.compile(pattern, _options(ignore_case)))
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid"
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    except (UnicodeEncodeError, ValueError) as error:
        return str(error)
    if compiled.programsize > MAX_PROGRAM:
        return f"too large once compiled ({compiled.programsize} > {MAX_PROGRAM})"
    return compiled


def compile_pattern(pattern: str, *, ignore_case: bool = False) -> Pattern:
    """Return the compiled pattern.

    :raises PatternError: when it is not RE2 or beyond the bounds.
    """
    compiled = _compile(pattern, ignore_case)
    if isinstance(compiled, str):
        raise PatternError(f"regular expression {pattern[:60]!r}: {compiled}")
    return compiled


def search(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Say whether ``pattern`` is found anywhere in ``text``.

    A text longer than :data:`MAX_SUBJECT` does not match.

    :raises PatternError: as :func:`compile_pattern`.
    """
    compiled = compile_pattern(pattern, ignore_case=ignore_case)
    if len(text) > MAX_SUBJECT:
        return False
    return compiled.search(_encodable(text)) is not None


def matches_whole(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Say whether ``pattern`` matches all of ``text``; bounds as :func:`search`."""
    compiled = compile_pattern(pattern, ignore_case=ignore_case)
    if len(text) > MAX_SUBJECT:
        return False
    return compiled.fullmatch(_encodable(text)) is not None


def _encodable(text: str) -> str:
    """Replace lone surrogates, which RE2's binding cannot encode, as Go does."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text
