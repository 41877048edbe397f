"""Who may do what: two roles, who has them, and what each action needs.

Patterns are those of the ``auth`` section. One that has only letters, digits,
``_``, ``-`` and ``.`` is a name, and its dots are dots. Any other is a regular
expression (RE2). Both are matched whole against the certname, or against the
whole caller id when the pattern contains ``=``. A pattern that is empty, does
not compile or matches the empty string is refused at start-up, because what it
says is never what was meant.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import attrs

from backplane.errors import DecodeError, LocalError
from backplane.patterns import Pattern, PatternError, compile_pattern
from backplane.security.names import certname_of

__all__ = [
    "ACTION_ROLES",
    "Role",
    "RoleError",
    "Roles",
    "check_pattern",
    "required_role",
]


class Role(enum.IntEnum):
    """What a caller may do; a higher one includes the lower."""

    POLICY = 0
    """Nothing by the lists; a policy allows him something."""

    READ_ONLY = 1
    FULL = 2


ACTION_ROLES: Final[Mapping[str, Mapping[str, Role]]] = MappingProxyType(
    {
        "backplane": MappingProxyType(
            {
                "info": Role.READ_ONLY,
                "ping": Role.READ_ONLY,
                "health": Role.READ_ONLY,
                "changes": Role.READ_ONLY,
                "pause": Role.FULL,
                "resume": Role.FULL,
                "flip": Role.FULL,
                "shutdown": Role.FULL,
                "debuglvl": Role.FULL,
                "infolvl": Role.FULL,
                "warnlvl": Role.FULL,
                "critlvl": Role.FULL,
                "threaddump": Role.FULL,
                "stalls": Role.FULL,
                "change": Role.FULL,
                "end": Role.FULL,
                "amend": Role.FULL,
                "loggers": Role.FULL,
            }
        ),
        "rpcutil": MappingProxyType(
            {
                "ping": Role.READ_ONLY,
                "inventory": Role.READ_ONLY,
                "collective_info": Role.READ_ONLY,
                "agent_inventory": Role.READ_ONLY,
                "get_fact": Role.READ_ONLY,
                "get_facts": Role.READ_ONLY,
                "daemon_stats": Role.READ_ONLY,
                "get_config_item": Role.FULL,
                "get_data": Role.FULL,
            }
        ),
        "choria_util": MappingProxyType(
            {
                "info": Role.READ_ONLY,
                "machine_states": Role.READ_ONLY,
                "machine_state": Role.FULL,
                "machine_transition": Role.FULL,
            }
        ),
        # No actions and no role: a caller without one may discover, so that he
        # gets a clear denial when he acts.
        "discovery": MappingProxyType({}),
    }
)
"""The role that each action of each built-in agent needs. An application's own
agents are not here: their actions declare a role."""


def required_role(agent: str, action: str, declared: Role = Role.FULL) -> Role | None:
    """Return the role that a caller needs, or ``None`` when he needs none.

    :param declared: what the action of an application's own agent declares;
        it does not count for built-in agents.
    """
    if agent == "discovery":
        return None
    builtin = ACTION_ROLES.get(agent)
    if builtin is None:
        return declared
    return builtin.get(action, Role.FULL)


class RoleError(LocalError, ValueError):
    """An entry of the ``auth`` section cannot be used.

    :ivar key: which one, such as ``full[0]``.
    :ivar entry: the entry.
    :ivar reason: what is wrong with it.
    """

    def __init__(self, key: str, entry: object, reason: str) -> None:
        self.key = key
        self.entry = entry
        self.reason = reason
        super().__init__(f"auth.{key}: {entry!r} {reason}")


_LITERAL: Final = re.compile(r"[A-Za-z0-9_\-.]+")


def check_pattern(text: str) -> str | None:
    """Return why ``text`` cannot be a pattern of the ``auth`` section, or ``None``.

    The reason continues a sentence that begins with the entry.
    """
    if not isinstance(text, str):
        return "is not text"
    if not text:
        return "is empty, which would allow everyone"
    if _LITERAL.fullmatch(text):
        return None
    try:
        compiled = compile_pattern(text)
    except PatternError as error:
        return f"is not a usable regular expression: {error}"
    if compiled.fullmatch("") is not None:
        return "matches the empty string, so it says nothing about who is meant"
    return None


@attrs.frozen
class _Matcher:
    """One entry, compiled.

    :ivar literal: the name, when the entry is one.
    :ivar pattern: the regular expression otherwise.
    :ivar whole_id: match the whole caller id instead of the certname.
    """

    literal: str | None
    pattern: Pattern | None
    whole_id: bool

    def matches(self, certname: str, caller_id: str) -> bool:
        if self.pattern is None:
            return certname == self.literal
        subject = caller_id if self.whole_id else certname
        return self.pattern.fullmatch(subject) is not None


def _compile(key: str, entries: Sequence[str]) -> tuple[_Matcher, ...]:
    if isinstance(entries, (str, bytes)):
        # Text is a sequence too; letter by letter it would allow people called "s".
        raise RoleError(key, entries, "is not a list")
    matchers = []
    for index, entry in enumerate(entries):
        reason = check_pattern(entry)
        if reason is not None:
            raise RoleError(f"{key}[{index}]", entry, reason)
        if _LITERAL.fullmatch(entry):
            matchers.append(_Matcher(entry, None, False))
        else:
            matchers.append(_Matcher(None, compile_pattern(entry), "=" in entry))
    return tuple(matchers)


@attrs.frozen
class Roles:
    """Says which role a caller has. Make it with :meth:`compile`."""

    insecure: bool
    _full: tuple[_Matcher, ...]
    _read_only: tuple[_Matcher, ...]

    @classmethod
    def compile(
        cls,
        *,
        insecure: bool = False,
        full: Sequence[str] = (),
        read_only: Sequence[str] = (),
    ) -> Roles:
        """Return the roles of an ``auth`` section; an empty one denies all.

        :param insecure: everyone may do everything.
        :param full: patterns of callers who may do everything.
        :param read_only: patterns of callers who may look.
        :raises RoleError: a ``ValueError`` that names the first entry that
            cannot be used.
        """
        return cls(insecure, _compile("full", full), _compile("read_only", read_only))

    def role_of(self, caller_id: str) -> Role | None:
        """Return the caller's role, or ``None`` for one who has none.

        A caller id that is not of the form never has a role.
        """
        try:
            certname = certname_of(caller_id)
        except DecodeError:
            return None
        if self.insecure or any(entry.matches(certname, caller_id) for entry in self._full):
            return Role.FULL
        if any(entry.matches(certname, caller_id) for entry in self._read_only):
            return Role.READ_ONLY
        return None
