"""Names against what a filter wants: identities, agents, classes.

A wanted name in slashes is a regular expression that is found anywhere in the
name. Source: Choria protocol 5.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from backplane.choria.budget import Budget
from backplane.choria.facts import lower
from backplane.patterns import PatternError

__all__ = ["has_agent", "has_class", "is_identity", "is_pattern"]


def is_identity(identity: str, wanted: str, budget: Budget) -> bool:
    """Say whether the node's identity is the wanted one; case counts."""
    return has_agent((identity,), wanted, budget)


def has_agent(agents: Sequence[str], wanted: str, budget: Budget) -> bool:
    """Say whether one of the names is the wanted one; case counts."""
    budget.spend(4 + len(agents) // 16)
    if is_pattern(wanted):
        return _found(agents, wanted, budget, ignore_case=False)
    return wanted in agents


def has_class(classes: Sequence[str], wanted: str, budget: Budget) -> bool:
    """Say whether the node has the wanted class.

    A name is put into lower case first, but the node's classes are not, so that one
    with capitals is only found by a pattern; for patterns case does not count.
    """
    budget.spend(4 + len(classes) // 16 + len(wanted) // 4)
    if is_pattern(wanted):
        return _found(classes, wanted, budget, ignore_case=True)
    return lower(wanted) in classes


def is_pattern(wanted: str) -> bool:
    """Say whether a wanted name is a regular expression in slashes."""
    return wanted.startswith("/") and wanted.endswith("/")


def _found(names: Sequence[str], wanted: str, budget: Budget, *, ignore_case: bool) -> bool:
    pattern = wanted[1:-1]
    try:
        return any(budget.search(pattern, name, ignore_case=ignore_case) for name in names)
    except PatternError:
        return False
