"""Compound filters: expressions that a node answers with yes or no.

The language is expr-lang 1.17 as Choria's peers have it, without what a filter has
no use for. An expression is read into a tree and the tree is walked; nothing is
given to Python's ``eval``. Length, nesting, steps and sizes of values are bounded.

Where we differ: the name ``facts`` (for peers the raw document, secrets included)
does not exist, and types are checked while the tree is walked, so that a branch
that is not reached may be wrong.
"""

from __future__ import annotations

from typing import Final

from backplane.choria.budget import Budget, BudgetExceeded
from backplane.choria.evaluation import Evaluation, NodeFacts
from backplane.choria.expression import ExpressionError, Node, parse

__all__ = ["ExpressionError", "NodeFacts", "evaluate"]

WORD_STEPS: Final = 10
"""Charge for reading a word, whether or not the expression was read before."""


def evaluate(expression: str, node: NodeFacts, budget: Budget) -> bool:
    """Return what the expression says about the node.

    :raises ExpressionError: when it cannot be read, fails, or says neither yes nor no.
    :raises BudgetExceeded: when it costs too much.
    """
    budget.spend(1 + len(expression) // 4)
    read = parse(expression)
    budget.spend(WORD_STEPS * read.words)
    if read.root is None:
        raise ExpressionError(read.error)
    try:
        result = Evaluation(node, budget).value(read.root)
    except (ExpressionError, BudgetExceeded):
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ExpressionError(f"{type(error).__name__} while evaluating") from None
    if result is None and not _is_nil(read.root):
        return False
    if not isinstance(result, bool):
        raise ExpressionError("the expression says neither yes nor no")
    return result


def _is_nil(node: Node) -> bool:
    """Say whether an expression is nil for every node, which can only be a mistake."""
    if node.kind == "binary" and node.value == "??":
        return all(map(_is_nil, node.parts))
    return node.kind == "constant" and node.value is None
