"""The tree of an expression: the second half of reading it. See :mod:`.lexer`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NoReturn

import attrs

from backplane.choria.lexer import ExpressionError, Token, tokens

__all__ = ["PREDICATES", "Expression", "ExpressionError", "Node", "parse"]

MAX_DEPTH: Final = 40
"""Deepest nesting while reading."""

MAX_TREE: Final = 80
"""Deepest tree. ``and`` and ``or`` in a row do not nest."""

_CACHE_SIZE: Final = 128

# fmt: off
_BINARY: Final = {
    "|": 0, "||": 10, "or": 10, "&&": 15, "and": 15,
    "==": 20, "!=": 20, "<": 20, ">": 20, "<=": 20, ">=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20,
    "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}
"""Precedence of operators between two values."""

_UNARY: Final = {"not": 50, "!": 50, "-": 90, "+": 90}
_NEGATABLE: Final = frozenset(("in", "matches", "contains", "startsWith", "endsWith"))
_CHAINED: Final = frozenset(("<", ">", "<=", ">="))
_SAME: Final = {"||": "or", "&&": "and", "^": "**", "!": "not"}

PREDICATES: Final = {
    "all": (2, 2), "none": (2, 2), "any": (2, 2), "one": (2, 2), "filter": (2, 2), "map": (2, 2),
    "count": (1, 2), "sum": (1, 2), "find": (2, 2), "findIndex": (2, 2), "findLast": (2, 2),
    "findLastIndex": (2, 2), "groupBy": (2, 2), "sortBy": (2, 3), "reduce": (2, 3),
}
# fmt: on
"""Functions whose second argument is looked at for each item: fewest, most arguments."""


@attrs.frozen
class Node:
    """A node of the tree.

    :ivar kind: what it is; the evaluator has a method for each.
    :ivar value: operator, name or constant.
    :ivar parts: nodes below it.
    """

    kind: str
    value: Any = None
    parts: tuple[Node, ...] = ()
    depth: int = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        depth = 1 + max((part.depth for part in self.parts), default=0)
        if depth > MAX_TREE:
            raise ExpressionError("an expression that is nested too deeply")
        object.__setattr__(self, "depth", depth)


@attrs.frozen
class Expression:
    """What could be read of a text: its tree, or why there is none.

    :ivar words: how many were read.
    """

    root: Node | None
    words: int
    error: str = ""


@lru_cache(maxsize=_CACHE_SIZE)
def parse(text: str) -> Expression:
    """Return the tree of ``text``; what cannot be read is remembered as well."""
    words = 0
    try:
        read = tokens(text)
        words = len(read)
        return Expression(_Parser(read).whole(), words)
    except ExpressionError as error:
        return Expression(None, words, str(error))


class _Parser:
    """Precedence climbing over the words."""

    def __init__(self, words: list[Token]) -> None:
        self._words = words
        self._position = 0
        self._depth = 0
        self._predicates = 0

    @property
    def _now(self) -> Token:
        return self._words[self._position]

    def _next(self) -> Token:
        token = self._words[self._position]
        if token.kind != "end":
            self._position += 1
        return token

    def _fail(self) -> NoReturn:
        token = self._now
        what = token.text[:40] if token.kind != "end" else "the end"
        raise ExpressionError(f"{what!r} is not expected there")

    def _at(self, text: str) -> bool:
        token = self._words[self._position]
        return token.text == text and token.kind in ("operator", "bracket")

    def _take(self, text: str) -> bool:
        if self._at(text):
            self._position += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._fail()

    def _name(self) -> str:
        if self._now.kind != "name":
            self._fail()
        return self._next().text

    def whole(self) -> Node:
        node = self._sequence("")
        if self._now.kind != "end":
            self._fail()
        return node

    def _sequence(self, closing: str) -> Node:
        nodes = [self._expression(0)]
        while self._take(";"):
            if self._now.kind == "end" or (closing and self._at(closing)):
                break
            nodes.append(self._expression(0))
        return nodes[0] if len(nodes) == 1 else Node("sequence", None, tuple(nodes))

    def _expression(self, precedence: int) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError("an expression that is nested too deeply")
        try:
            if precedence == 0 and self._take("let"):
                return self._let()
            if precedence == 0 and self._take("if"):
                return self._if()
            node = self._operators(self._primary(), precedence)
            return self._conditional(node) if precedence == 0 else node
        finally:
            self._depth -= 1

    def _operators(self, left: Node, precedence: int) -> Node:
        before = ""
        while self._now.kind == "operator":
            start = self._position
            negated = self._take("not")
            operator = self._now.text
            if negated and operator not in _NEGATABLE:
                self._fail()
            if self._now.kind != "operator" or _BINARY.get(operator, -1) < precedence:
                self._position = start
                break
            self._position += 1
            if before == "??" and operator not in ("??", "|"):
                raise ExpressionError(f"{operator} beside ?? needs parentheses")
            if operator == "|":
                left = self._call(self._name(), (left,))
            elif operator in _CHAINED:
                left = self._comparison(left, operator)
            else:
                left = self._binary(left, operator)
                left = Node("unary", "not", (left,)) if negated else left
            before = operator
        return left

    def _binary(self, left: Node, operator: str) -> Node:
        precedence = _BINARY[operator] + (operator not in ("**", "^"))
        name = _SAME.get(operator, operator)
        right = self._expression(precedence)
        if name not in ("and", "or"):
            return Node("binary", name, (left, right))
        parts = [left, right]
        while self._now.kind == "operator" and _SAME.get(self._now.text, self._now.text) == name:
            self._position += 1
            parts.append(self._expression(precedence))
        return Node(name, None, tuple(parts))

    def _comparison(self, left: Node, operator: str) -> Node:
        """Read ``a < b < c``, which means ``a < b and b < c``."""
        parts = []
        while True:
            right = self._expression(_BINARY[operator] + 1)
            parts.append(Node("binary", operator, (left, right)))
            if self._now.kind != "operator" or self._now.text not in _CHAINED:
                break
            operator = self._next().text
            left = right
        return parts[0] if len(parts) == 1 else Node("and", None, tuple(parts))

    def _let(self) -> Node:
        name = self._name()
        self._expect("=")
        value = self._expression(0)
        self._expect(";")
        return Node("let", name, (value, self._sequence("")))

    def _if(self) -> Node:
        condition = self._expression(0)
        self._expect("{")
        yes = self._sequence("}")
        self._expect("}")
        self._expect("else")
        if self._take("if"):
            return Node("choice", None, (condition, yes, self._if()))
        self._expect("{")
        no = self._sequence("}")
        self._expect("}")
        return Node("choice", None, (condition, yes, no))

    def _conditional(self, node: Node) -> Node:
        if not self._take("?"):
            return node
        if self._take(":"):
            return Node("choice", None, (node, node, self._expression(0)))
        yes = self._expression(0)
        self._expect(":")
        return Node("choice", None, (node, yes, self._expression(0)))

    def _primary(self) -> Node:
        token = self._now
        if token.kind == "operator" and token.text in _UNARY:
            self._position += 1
            operand = self._expression(_UNARY[token.text])
            return self._postfix(Node("unary", _SAME.get(token.text, token.text), (operand,)))
        if self._take("("):
            node = self._sequence(")")
            self._expect(")")
            return self._postfix(node)
        if self._predicates and (self._at("#") or self._at(".")):
            name = "#"
            if self._take("#") and self._now.kind == "name":
                name = f"#{self._next().text}"
            return self._postfix(Node("pointer", name))
        if token.kind in ("number", "text"):
            self._position += 1
            return self._postfix(Node("constant", token.value))
        if token.kind == "name":
            return self._postfix(self._named(self._next().text))
        if self._take("["):
            items = self._items("]")
            return self._postfix(Node("list", None, items))
        if self._take("{"):
            return self._postfix(self._map())
        self._fail()

    _CONSTANTS: Final = {"true": True, "false": False, "nil": None}

    def _named(self, name: str) -> Node:
        if name in self._CONSTANTS:
            return Node("constant", self._CONSTANTS[name])
        return self._call(name, ()) if self._at("(") else Node("name", name)

    def _items(self, closing: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._take(closing):
            if items:
                self._expect(",")
                if self._take(closing):
                    break
            items.append(self._expression(0))
        return tuple(items)

    def _map(self) -> Node:
        parts: list[Node] = []
        while not self._take("}"):
            if parts:
                self._expect(",")
                if self._take("}"):
                    break
            token = self._now
            if token.kind in ("name", "text", "number"):
                self._position += 1
                key = token.value if token.kind == "text" else token.text
                parts.append(Node("constant", key))
            elif self._take("("):
                parts.append(self._expression(0))
                self._expect(")")
            else:
                self._fail()
            self._expect(":")
            parts.append(self._expression(0))
        return Node("map", None, tuple(parts))

    def _call(self, name: str, first: tuple[Node, ...]) -> Node:
        self._expect("(")
        if name not in PREDICATES:
            return Node("call", name, (*first, *self._items(")")))
        arguments = list(first)
        while not self._take(")"):
            if len(arguments) > len(first):
                self._expect(",")
            if len(arguments) == 1:
                arguments.append(self._predicate())
            else:
                arguments.append(self._expression(0))
        fewest, most = PREDICATES[name]
        if not fewest <= len(arguments) <= most:
            raise ExpressionError(f"{name}() does not take {len(arguments)} arguments")
        return Node("predicate", name, tuple(arguments))

    def _predicate(self) -> Node:
        self._predicates += 1
        braces = self._take("{")
        node = self._sequence("}") if braces else self._expression(0)
        if braces:
            self._expect("}")
        self._predicates -= 1
        return node

    def _postfix(self, node: Node) -> Node:
        chained = False
        while True:
            if self._at(".") or self._at("?."):
                optional = self._next().text == "?."
                chained = chained or optional
                if optional and self._take("["):
                    node = self._index(node, optional)
                    continue
                token = self._next()
                if token.kind != "name" and not (token.kind == "operator" and token.text.isalpha()):
                    self._position -= token.kind != "end"
                    self._fail()
                if self._at("("):
                    raise ExpressionError("values have no methods")
                kind = "optional" if optional else "member"
                node = Node(kind, None, (node, Node("constant", token.text)))
            elif self._take("["):
                node = self._index(node, False)
            else:
                # `a?.b.c` is nil as a whole where `a` is nil.
                return Node("chain", None, (node,)) if chained else node

    def _index(self, node: Node, optional: bool) -> Node:
        nothing = Node("constant", None)
        start = nothing if self._at(":") else self._expression(0)
        if self._take(":"):
            end = nothing if self._at("]") else self._expression(0)
            self._expect("]")
            return Node("slice", None, (node, start, end))
        self._expect("]")
        return Node("optional" if optional else "member", None, (node, start))
