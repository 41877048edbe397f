"""Choria's action policies: who may call which action, line by line, the first match wins.

A policy is text of lines with columns between tabs: ``allow`` or ``deny``,
callers, actions, facts, classes. It belongs to one agent. Where Choria skips a
line that it cannot read, with a warning in its log, it is a mistake here that
is reported at start-up: a ``deny`` that is skipped allows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from backplane.errors import ConfigError, Problem
from backplane.patterns import MAX_SUBJECT, PatternError, compile_pattern, search

__all__ = ["MAX_POLICY", "NO_POLICY", "Groups", "Policy", "parse_groups", "parse_policy"]

MAX_POLICY: Final = 1 << 20
"""Longest text of a policy or of groups, in characters."""

_MAX_PROBLEMS: Final = 100
_SHOWN: Final = 60
_BLANK: Final = " \t\r\f\v"
_COMPOUND: Final = frozenset({"not", "and", "or"})
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_COLUMNS: Final = "allow or deny, callers, actions, facts and classes, with tabs between them"

Groups = Mapping[str, frozenset[str]]
"""Caller ids by the name of their group."""

_NO_GROUPS: Final[Groups] = MappingProxyType({})


@attrs.frozen
class _Rule:
    """One line; ``None`` in a column stands for ``*``.

    :ivar classes: empty when the column is missing, which denies.
    """

    line: int
    allow: bool
    callers: frozenset[str] | None
    caller_patterns: tuple[str, ...]
    actions: frozenset[str] | None
    facts: tuple[str, ...] | None
    classes: tuple[str, ...] | None

    def meets(self, caller_id: str, action: str) -> bool:
        return (self.actions is None or action in self.actions) and self.names(caller_id)

    def names(self, caller_id: str) -> bool:
        if self.callers is None or caller_id in self.callers:
            return True
        return any(search(pattern, caller_id) for pattern in self.caller_patterns)


@attrs.frozen
class Policy:
    """What a policy says. Make it with :func:`parse_policy`.

    :ivar default: allow what no line matches.
    :ivar default_line: the line that says so, or ``None``.
    :ivar warnings: what is lawful and hardly meant.
    """

    default: bool = False
    default_line: int | None = None
    warnings: tuple[Problem, ...] = ()
    exists: bool = True
    _rules: tuple[_Rule, ...] = ()

    def admits(self, caller_id: str) -> bool:
        """Say whether there is anything that this caller may be allowed."""
        if len(caller_id) > MAX_SUBJECT:
            return False
        return self.default or any(rule.allow and rule.names(caller_id) for rule in self._rules)

    def decide(
        self,
        caller_id: str,
        action: str,
        facts_match: Callable[[str], bool],
        classes: Collection[str] | None = None,
    ) -> tuple[bool, str]:
        """Return whether the caller may, and what says so, such as ``line 7``.

        As in Choria, a line whose facts or classes cannot be evaluated denies,
        once caller and action match, and no later line is looked at.

        :param caller_id: the verified caller id.
        :param facts_match: says whether one fact expression holds here.
        :param classes: the classes of this service; ``None`` when it cannot know.
        """
        if len(caller_id) > MAX_SUBJECT:
            return False, "the caller id is too long"  # patterns would not see it
        for rule in self._rules:
            if not rule.meets(caller_id, action):
                continue
            try:
                matched = _facts_hold(rule, facts_match)
            except Exception:  # whatever it is, not knowing must not allow
                return False, f"line {rule.line}: its facts cannot be evaluated"
            if rule.classes is not None:
                if not rule.classes:
                    return False, f"line {rule.line}: it has no column of classes"
                if classes is None:
                    return False, f"line {rule.line}: classes are not known here"
                matched = matched and all(_class_holds(name, classes) for name in rule.classes)
            if matched:
                return rule.allow, f"line {rule.line}"
        if not self.exists:
            return False, "no policy"
        line = "" if self.default_line is None else f", line {self.default_line}"
        return self.default, f"default{line}"


NO_POLICY: Final = Policy(exists=False)
"""What holds where there is no file: everything is denied."""


def _facts_hold(rule: _Rule, facts_match: Callable[[str], bool]) -> bool:
    return rule.facts is None or all(facts_match(fact) for fact in rule.facts)


def _class_holds(wanted: str, classes: Collection[str]) -> bool:
    if _is_pattern(wanted):
        return any(search(wanted[1:-1], name) for name in classes)
    return wanted in classes


def parse_policy(
    text: str,
    *,
    path: str | None = None,
    groups: Groups = _NO_GROUPS,
    check_fact: Callable[[str], str | None] = lambda text: None,
) -> Policy:
    """Read a policy.

    :param path: named in mistakes.
    :param groups: what :func:`parse_groups` has read.
    :param check_fact: returns why a fact expression cannot be used, as a
        sentence fragment that says what would be right, or ``None``.
    :raises ConfigError: with every mistake and its line.
    """
    return _Reader(path, groups, check_fact).read(text)


def parse_groups(text: str, *, path: str | None = None) -> Groups:
    """Read a file of groups: a name, then caller ids, with blanks between them.

    A group that is there twice has the members of the last line, as in Choria.

    :raises ConfigError: with every mistake and its line.
    """
    mistakes = _Mistakes("groups", path)
    groups: dict[str, frozenset[str]] = {}
    for number, line in _lines(text, mistakes):
        name, *members = line.split()
        if not _NAME.issuperset(name):
            mistakes.add(number, name, "a name of letters, digits, _, . and -")
        if not members:
            mistakes.add(number, line, "the name of a group and caller ids after it")
        for member in members:
            if "=" not in member:
                mistakes.add(number, member, "a caller id, such as choria=rip.mcollective")
        groups[name] = frozenset(members)
    mistakes.check()
    return MappingProxyType(groups)


class _Mistakes:
    """Gathers mistakes."""

    def __init__(self, key: str, path: str | None) -> None:
        self.problems: list[Problem] = []
        self._key = key
        self._path = path

    def make(self, line: int | None, found: str, wanted: str) -> Problem:
        shown = found if len(found) <= _SHOWN else found[:_SHOWN] + "…"
        return Problem(self._key, repr(shown), wanted, self._path, line)

    def add(self, line: int | None, found: str, wanted: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(self.make(line, found, wanted))

    def check(self) -> None:
        if self.problems:
            raise ConfigError(self.problems)


def _lines(text: str, mistakes: _Mistakes) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is neither blank nor a comment."""
    if len(text) > MAX_POLICY:
        mistakes.add(None, text, f"at most {MAX_POLICY} characters")
        return
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


class _Reader:
    """Reads the lines of a policy."""

    def __init__(
        self, path: str | None, groups: Groups, check_fact: Callable[[str], str | None]
    ) -> None:
        self._mistakes = _Mistakes("policy", path)
        self._groups = groups
        self._check_fact = check_fact
        self._default: bool | None = None
        self._default_line: int | None = None
        self._rules: list[_Rule] = []
        self._warnings: list[Problem] = []

    def read(self, text: str) -> Policy:
        for number, line in _lines(text, self._mistakes):
            if line.split()[0] == "policy":
                self._read_default(number, line)
            else:
                self._read_rule(number, line)
        self._mistakes.check()
        return Policy(
            default=bool(self._default),
            default_line=self._default_line,
            warnings=tuple(self._warnings),
            rules=tuple(self._rules),
        )

    def _read_default(self, number: int, line: str) -> None:
        words = line.partition("#")[0].split()
        if not line.startswith("policy") or words[:-1] != ["policy", "default"]:
            self._mistakes.add(number, line, "policy default allow, or policy default deny")
        elif words[2] not in ("allow", "deny"):
            self._mistakes.add(number, words[2], "allow or deny")
        elif self._default_line is not None:
            self._mistakes.add(number, line, f"one default; line {self._default_line} has it")
        else:
            self._default, self._default_line = words[2] == "allow", number

    def _read_rule(self, number: int, line: str) -> None:
        line = line.rstrip(" ")
        first, *others = line.split("\t")
        # Several tabs are one, so that columns can be lined up.
        columns = [column.strip(_BLANK) for column in others if column]
        if first not in ("allow", "deny") or not 3 <= len(columns) <= 4:
            self._mistakes.add(number, line, _COLUMNS)
            return
        if not all(columns) or line.endswith("\t"):
            self._mistakes.add(number, line, "no empty column, and no tab at the end")
            return
        lists = [None if column == "*" else column.split() for column in columns]
        for words in lists:
            if words is not None and "*" in words:
                self._mistakes.add(number, " ".join(words), "* alone, or names without it")
                words.remove("*")
        if len(lists) == 3:
            self._warn(number, line, "a column of classes, such as *: without it the line denies")
            lists.append([])
        callers, actions, facts, classes = lists
        names, patterns = self._read_callers(number, callers)
        self._read_facts(number, facts)
        self._read_classes(number, classes)
        self._rules.append(
            _Rule(
                line=number,
                allow=first == "allow",
                callers=names,
                caller_patterns=patterns,
                actions=None if actions is None else frozenset(actions),
                facts=None if facts is None else tuple(facts),
                classes=None if classes is None else tuple(classes),
            )
        )

    def _read_callers(
        self, number: int, callers: list[str] | None
    ) -> tuple[frozenset[str] | None, tuple[str, ...]]:
        if callers is None:
            return None, ()
        names: set[str] = set()
        patterns: list[str] = []
        for caller in callers:
            if caller.startswith("/"):
                if self._check_pattern(number, caller):
                    patterns.append(caller[1:-1])
                    if not (caller.startswith("/^") and caller.endswith("$/")):
                        self._warn(number, caller, "^ and $: it also matches within longer names")
            elif caller in self._groups:
                names |= self._groups[caller]
            elif "=" in caller:
                names.add(caller)
            else:
                self._mistakes.add(
                    number, caller, "a caller id, such as choria=rip.mcollective, or a known group"
                )
        return frozenset(names), tuple(patterns)

    def _read_facts(self, number: int, facts: list[str] | None) -> None:
        for fact in facts or ():
            if _is_compound(fact):
                self._mistakes.add(number, fact, "facts alone: no not, and, or, ! or brackets")
            elif (wanted := self._check_fact(fact)) is not None:
                self._mistakes.add(number, fact, wanted)

    def _read_classes(self, number: int, classes: list[str] | None) -> None:
        for name in classes or ():
            if _is_compound(name):
                self._mistakes.add(number, name, "classes alone: no not, and, or, ! or brackets")
            elif name.startswith("/"):
                self._check_pattern(number, name)
            elif any(sign in name for sign in "<>="):
                self._mistakes.add(number, name, "a class; facts have a column of their own")

    def _check_pattern(self, number: int, text: str) -> bool:
        if not _is_pattern(text):
            self._mistakes.add(number, text, "a regular expression between / and /")
            return False
        try:
            compile_pattern(text[1:-1])
        except PatternError as error:
            self._mistakes.add(number, text, f"a usable regular expression: {error}")
            return False
        return True

    def _warn(self, number: int, found: str, wanted: str) -> None:
        self._warnings.append(self._mistakes.make(number, found, wanted))


def _is_pattern(text: str) -> bool:
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def _is_compound(word: str) -> bool:
    opened = word.find("(")
    return word.startswith("!") or word in _COMPOUND or 0 <= opened < word.rfind(")") - 1
