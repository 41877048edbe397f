"""Lists of certificate names, as Choria's configuration has them.

Two such lists decide in the secure mode whose requests are taken
(``certname_whitelist``) and who may speak for others (``privileged_users``).
An item is an RE2 regular expression that is searched anywhere in the name,
case-sensitively, whether it stands between slashes or not. Pure.

Source: Choria protocol 2.2 and 2.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from backplane import patterns
from backplane.errors import ConfigError, Problem

__all__ = ["DEFAULT_ALLOWED", "DEFAULT_PRIVILEGED", "AllowList", "split_items"]

DEFAULT_ALLOWED: Final = (r"\.mcollective$", r"\.choria$")
"""Whose requests are taken when nothing is configured."""

DEFAULT_PRIVILEGED: Final = (r"\.privileged.mcollective$", r"\.privileged.choria$")
"""Who may speak for others when nothing is configured; the dots are Choria's."""


def split_items(text: str) -> tuple[str, ...]:
    """Return the items of a comma list; blanks around them do not count."""
    return tuple(item.strip() for item in text.split(","))


class AllowList:
    """Certificate names, by regular expressions.

    Deliberately unlike its peers it refuses an empty item, which stands for a
    trailing comma and would match every name. An item that is no regular
    expression matches nothing, as everywhere in Choria; :attr:`warnings` tells.

    :ivar items: as configured.
    :ivar warnings: sentences that the caller should log.
    """

    def __init__(self, items: Iterable[str], *, setting: str, path: str | None = None) -> None:
        """
        :param items: regular expressions, each perhaps between slashes.
        :param setting: the key they stand under, for errors and warnings.
        :param path: the file they stand in, for errors.
        :raises ConfigError: for an empty item.
        """
        self.items: Sequence[str] = tuple(items)
        compiled, warnings, problems = [], [], []
        for place, item in enumerate(self.items, 1):
            pattern = _without_slashes(item)
            if not pattern:
                problems.append(
                    Problem(
                        setting,
                        f"an empty item (number {place}), which matches every name",
                        "regular expressions, without a comma too many",
                        path,
                    )
                )
                continue
            try:
                if patterns.search(pattern, ""):
                    warnings.append(f"{setting}: item {item[:60]!r} matches every name")
            except patterns.PatternError as error:
                warnings.append(f"{setting}: item {place} matches nothing: {error}")
                continue
            compiled.append(pattern)
        if problems:
            raise ConfigError(problems)
        self._patterns = tuple(compiled)
        self.warnings: Sequence[str] = tuple(warnings)
        # Names of verified certificates are few, and each is asked for again and again.
        self._answers = lru_cache(maxsize=1024)(self._search)

    def matches(self, name: str) -> bool:
        """Say whether a certificate name is on the list."""
        return self._answers(name)

    def _search(self, name: str) -> bool:
        return any(patterns.search(pattern, name) for pattern in self._patterns)


def _without_slashes(item: str) -> str:
    # Go takes all slashes off both ends, once there is something between two of
    # them: "//bob//" is "bob", "//" is itself.
    if len(item) > 2 and item.startswith("/") and item.endswith("/"):
        return item.strip("/")
    return item
