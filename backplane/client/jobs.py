"""What an operator asks of whom, made of what people type. Pure.

Nothing that was meant as a filter may become no filter: what is empty, or cannot
be what it stands for, is refused before anything is sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.choria.budget import Budget
from backplane.choria.expression import parse
from backplane.choria.filter import Filter, build_filter
from backplane.choria.matching import is_identity
from backplane.client.batches import Rollout
from backplane.client.discovery import DiscoveryRule
from backplane.patterns import PatternError, compile_pattern
from backplane.security.names import valid_identity

__all__ = ["NEEDS", "READS", "Job", "make_job"]

NEEDS: Final[Mapping[str, str]] = {
    "pause": "backplane_pausable=true",
    "resume": "backplane_pausable=true",
    "flip": "backplane_pausable=true",
    "shutdown": "backplane_stopable=true",
    "health": "backplane_healthcheckable=true",
    "debuglvl": "backplane_loglevelsetable=true",
    "infolvl": "backplane_loglevelsetable=true",
    "warnlvl": "backplane_loglevelsetable=true",
    "critlvl": "backplane_loglevelsetable=true",
}
"""What a service must offer to be asked, as the Go backplane's CLI has it."""

READS: Final = frozenset({"health", "ping", "info", "threaddump"})
"""Actions of the backplane agent that change nothing."""

MAX_NAMES_SENT: Final = 200
"""Identities that are put into a filter; more of them are looked for among all answers."""

_SERVICE: Final = re.compile(r"[a-z0-9]+")
_AGENT: Final = re.compile(r"[A-Za-z0-9_\-]+")


@attrs.frozen(kw_only=True)
class Job:
    """What is asked of whom.

    :ivar service: the application's name, for people.
    :ivar collective: usually ``SERVICE_backplane``.
    :ivar filter: who is meant.
    :ivar rule: when discovery ends.
    :ivar agent_timeout: seconds that the agent may take.
    :ivar timeout: seconds for the whole run, or ``None``.
    :ivar everyone: whether nothing says that only some of the services are meant.
    :ivar rollout: in which steps it goes out, and what stops it.
    :ivar verb: what the operator calls the action, where that is not its name.
    :ivar at_least: how many services there are at least, or ``None``.
    :ivar roster: identities seen of late that may be meant.
    :ivar faded: the same for those seen too long ago to be expected.
    :ivar whole: whether all of ``roster`` are meant: nothing was asked for but identities.
    """

    service: str
    collective: str
    action: str
    agent: str = "backplane"
    data: Mapping[str, Any] = attrs.field(factory=dict)
    filter: Filter = attrs.field(factory=Filter)
    rule: DiscoveryRule = attrs.field(factory=DiscoveryRule)
    agent_timeout: float = 10.0
    timeout: float | None = None
    everyone: bool = True
    rollout: Rollout = attrs.field(factory=Rollout)
    verb: str = ""
    at_least: int | None = None
    roster: frozenset[str] = frozenset()
    faded: frozenset[str] = frozenset()
    whole: bool = False

    @property
    def plain(self) -> bool:
        """Whether whoever has the agent and one of the identities matches."""
        wanted = self.filter
        return not (wanted.fact or wanted.cf_class or wanted.compound)

    @property
    def spoken(self) -> str:
        """What the operator calls the action."""
        return self.verb or self.action


def make_job(
    service: str,
    action: str,
    data: Mapping[str, Any] | None = None,
    *,
    agent: str = "backplane",
    facts: Sequence[str] = (),
    identities: Sequence[str] = (),
    withs: Sequence[str] = (),
    classes: Sequence[str] = (),
    select: Sequence[str] = (),
    target: str | None = None,
    nodes: Sequence[str] | None = None,
    expect: int | None = None,
    expect_at_least: int | None = None,
    roster: Collection[str] = (),
    faded: Collection[str] = (),
    change: bool | None = None,
    timeout: float | None = None,
    discovery_timeout: float = 2.0,
    window: float | None = None,
    agent_timeout: float = 10.0,
    rollout: Rollout | None = None,
    verb: str = "",
) -> Job:
    """Return the job that somebody means.

    :param data: inputs of the action.
    :param facts: such as ``dc=DC1``; all must match, ``classes`` likewise.
    :param identities: alternatives, or patterns in slashes.
    :param withs: facts and classes, separated by blanks.
    :param select: expressions.
    :param target: another collective than ``SERVICE_backplane``.
    :param nodes: the identities that are all who is meant.
    :param expect: how many services there are; ``expect_at_least``: or more.
    :param roster: identities that were seen of late, so that they are expected where all are
        meant; ``faded``: seen too long ago for that.
    :param change: whether the action changes something, so that discovery takes its whole
        time; by default everything does but :data:`READS`.
    :param timeout: seconds for the whole run.
    :param discovery_timeout: seconds for discovery at most.
    :param window: seconds after the last new answer at which discovery ends.
    :param agent_timeout: seconds that services may take.
    :param rollout: in which steps it goes out; see :class:`backplane.client.batches.Rollout`.
    :param verb: what the operator calls the action.
    :raises ValueError: for what cannot be, and for a filter that says nothing.
    :raises TypeError: for one text where a list of them is wanted.
    """
    for kind, given in (
        ("facts", facts),
        ("identities", identities),
        ("withs", withs),
        ("classes", classes),
        ("select", select),
        ("nodes", nodes),
    ):
        # A text is a sequence too: of letters, which are other filters.
        if isinstance(given, str):
            raise TypeError(f"{kind} is a list of texts, such as {kind}=[{given[:60]!r}]")
    for kind, seconds in (
        ("timeout", timeout),
        ("discovery_timeout", discovery_timeout),
        ("window", window),
        ("agent_timeout", agent_timeout),
    ):
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"{kind}={seconds!r} is no number of seconds")
    for kind, number in (("expect", expect), ("expect_at_least", expect_at_least)):
        if number is not None and number < 0:
            raise ValueError(f"{kind}={number!r} is no number of services")
    if expect is not None and expect_at_least is not None:
        raise ValueError("expect and expect_at_least: either so many, or so many or more")
    if not _SERVICE.fullmatch(service):
        raise ValueError(f"{service[:60]!r} is no service: names have a-z and 0-9 only")
    if target is not None and not valid_identity(target):
        raise ValueError(f"{target[:60]!r} is no collective")
    if not _AGENT.fullmatch(agent):
        raise ValueError(f"{agent[:60]!r} is no agent")
    if not action:
        raise ValueError("an action without a name")
    if nodes is not None and not nodes:
        raise ValueError("a list of nodes that names nobody")
    for name in nodes or ():
        if not valid_identity(name):
            raise ValueError(f"{name[:60]!r} is not an identity")
    needs = NEEDS.get(action) if agent == "backplane" else None
    _check_patterns(identities, "identity")
    wanted = build_filter(
        facts=[*facts, *([needs] if needs else [])],
        classes=classes,
        identities=identities,
        withs=withs,
        select=select,
    )
    _check_patterns(wanted.cf_class, "class")
    for expression in select:
        _check_expression(expression)
    for test in wanted.fact:
        if test.operator == "=~":
            _check_pattern(test.value.strip("/"), "fact")
    plain = not any(name.startswith("/") for name in identities)
    meant = tuple(dict.fromkeys(nodes)) if nodes is not None else ()
    if meant and identities and plain:
        meant = tuple(name for name in meant if name in identities)
        if not meant:
            raise ValueError("the list of nodes has none of the identities")
    named: Sequence[str] = meant
    if nodes is None and plain and not (facts or withs or classes or select):
        named = identities  # else not everybody who is named has to match
    if meant and not identities and len(meant) <= MAX_NAMES_SENT:
        wanted = attrs.evolve(wanted, identity=meant)
    if change is None:
        change = agent != "backplane" or action not in READS
    whole = not (facts or withs or classes or select)
    if nodes is not None or (identities and plain and whole):
        roster = faded = ()  # who is meant was said
    elif identities:
        roster, faded = _matching(roster, identities), _matching(faded, identities)
    known = frozenset(roster) if whole and expect is None else frozenset()
    return Job(
        service=service,
        collective=target if target is not None else f"{service}_backplane",
        agent=agent,
        action=action,
        data=data if data is not None else {},
        filter=wanted,
        rule=DiscoveryRule.choose(
            change=change,
            timeout=discovery_timeout,
            window=window,
            named=named,
            expect=expect,
            known=known,
            awaited=needs is None,
        ),
        agent_timeout=agent_timeout,
        timeout=timeout,
        everyone=nodes is None and not (facts or identities or withs or classes or select),
        rollout=rollout if rollout is not None else Rollout(),
        verb="" if verb == action else verb,
        at_least=expect_at_least,
        roster=frozenset(roster),
        faded=frozenset(faded),
        whole=whole,
    )


def _matching(roster: Collection[str], identities: Sequence[str]) -> frozenset[str]:
    """Return who of a roster has one of the identities, which are names or patterns."""
    return frozenset(
        name for name in roster if any(is_identity(name, wanted, Budget()) for wanted in identities)
    )


def _check_patterns(names: Sequence[str], kind: str) -> None:
    for name in names:
        if name.startswith("/") and name.endswith("/"):
            _check_pattern(name[1:-1], kind)


def _check_expression(expression: str) -> None:
    """Refuse what no service can read: it would look like a fleet that is not there.

    :raises ValueError: for an expression that cannot be parsed.
    """
    read = parse(expression)
    if read.root is None:
        raise ValueError(f"could not parse expression {expression[:60]!r}: {read.error}")


def _check_pattern(pattern: str, kind: str) -> None:
    """Refuse what would match nobody, or everybody.

    :raises ValueError: for a pattern that is empty or cannot be compiled.
    """
    if not pattern:
        raise ValueError(f"an empty {kind} filter; leave it out to address everyone")
    try:
        compile_pattern(pattern)
    except PatternError as error:
        raise ValueError(f"{kind} filter: {error}") from None
