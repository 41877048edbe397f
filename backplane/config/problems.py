"""Documents that know where each value stands, and all their mistakes at once.

A YAML or JSON file becomes a tree of :class:`Node`, which keep the text as it
was written beside what YAML made of it: YAML 1.1 reads ``on`` as a boolean,
``0123456`` as 42798 and ``22:22`` as 1342, and only who sees both can say so.
Mistakes are collected by a :class:`Collector` and raised together.
"""

from __future__ import annotations

import codecs
import datetime
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn

import attrs
import yaml

from backplane.errors import ConfigError, Problem

__all__ = [
    "FAILED",
    "MAX_DEPTH",
    "Collector",
    "Entry",
    "ExpandError",
    "Node",
    "describe",
    "expand",
    "expand_tree",
    "load_document",
    "node_from",
    "parse_document",
    "to_plain",
]

MAX_DEPTH: Final = 100
"""Deepest nesting of a document; people write a tenth of that, and the
interpreter's stack ends at some hundreds."""

_SHOWN: Final = 60
"""Characters of a value that a message quotes."""


@attrs.frozen(eq=False)
class Node:
    """One value of a document: a scalar, a list or a mapping.

    :ivar value: the scalar, as YAML or JSON reads it.
    :ivar items: the values of a list; ``None`` for anything else.
    :ivar entries: the keys of a mapping; ``None`` for anything else.
    :ivar written: the text of a scalar in the file, or ``None``.
    :ivar quoted: whether it is text for certain: in quotes, or made in code.
    :ivar expanded: whether ``${NAME}`` was replaced in it.
    :ivar language: ``YAML``, ``JSON``, or ``None`` for a value made in code.
    :ivar line: from 1, or ``None``; ``column`` likewise.
    """

    value: Any = None
    items: tuple[Node, ...] | None = None
    entries: tuple[Entry, ...] | None = None
    written: str | None = None
    quoted: bool = True
    expanded: bool = False
    language: Literal["YAML", "JSON"] | None = None
    line: int | None = None
    column: int | None = None


@attrs.frozen(eq=False)
class Entry:
    """One key of a mapping, as it is read, where it stands, and its value."""

    name: Any
    node: Node
    line: int | None = None
    column: int | None = None


class Collector:
    """Gathers the mistakes of one file, or of a configuration made in code.

    :param path: the file, or ``None``.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._problems: list[Problem] = []

    def add(self, key: str, found: str, wanted: str, at: Node | Entry | None = None) -> None:
        """Note one mistake; see :class:`~backplane.errors.Problem`."""
        if not key.isprintable():
            key = repr(key)[1:-1]
        line, column = (at.line, at.column) if at is not None else (None, None)
        problem = Problem(key, found, wanted, self.path, line, column)
        if problem not in self._problems:
            self._problems.append(problem)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The mistakes in the order of the file."""
        return tuple(sorted(self._problems, key=lambda each: (each.line or 0, each.column or 0)))

    def error(self) -> ConfigError:
        """Return all mistakes as one error."""
        return ConfigError(self.problems)

    def check(self) -> None:
        """:raises ConfigError: with all mistakes, when there are any."""
        if self._problems:
            raise self.error()


def load_document(path: str, problems: Collector | None = None) -> Node:
    """Read a YAML or JSON file.

    :param problems: takes mistakes that let the rest be read, such as a key that
        stands twice; without one they are raised as well.
    :raises ConfigError: when the file cannot be read or is no YAML.
    """
    collector = Collector(path) if problems is None else problems
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        collector.add("", f"an unreadable file ({reason})", "a readable file")
        raise collector.error() from None
    node = parse_document(data, collector)
    if problems is None:
        collector.check()
    return node


def parse_document(data: bytes, problems: Collector) -> Node:
    """Read the content of a YAML or JSON file; as :func:`load_document`."""
    text = _decode(data, problems)
    as_json = _is_json(text)
    if not as_json and (problems.path or "").lower().endswith(".json"):
        _refuse_json(text, problems)
    loader = None
    try:
        # JSON may be indented with tabs, which YAML refuses. Inside of JSON's
        # strings there are none, so blanks may stand for them.
        loader = yaml.SafeLoader(text.replace("\t", " ") if as_json else text)
        root = loader.get_single_node()
        if root is None:
            return Node(value=None, written="", language="YAML")
        return _Converter(loader, problems, "JSON" if as_json else "YAML").convert(root, "", 0)
    except yaml.reader.ReaderError as error:
        at = _place(text, error.position)
        problems.add("", f"the character {chr(int(error.character))!r}", "printable text", at)
    except yaml.MarkedYAMLError as error:
        _add_syntax(error, problems)
    except (yaml.YAMLError, ValueError) as error:
        problems.add("", str(error).replace("\n", " "), "YAML")
    except RecursionError:
        problems.add("", "a document that is nested too deeply", f"{MAX_DEPTH} levels at most")
    finally:
        if loader is not None:
            loader.dispose()
    raise problems.error()


def _place(text: str, index: int) -> Node:
    before = text[:index]
    return Node(line=before.count("\n") + 1, column=index - before.rfind("\n"))


def _decode(data: bytes, problems: Collector) -> str:
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Not `data`: the codec has taken the byte-order mark away.
        before = error.object[: error.start].decode(error.encoding, "ignore").lstrip("\ufeff")
        found = f"the byte 0x{error.object[error.start]:02X}, which is not {error.encoding.upper()}"
        wanted = "a file saved as UTF-8 (this looks like Latin-1)"
        problems.add("", found, wanted, _place(before, len(before)))
        raise problems.error() from None


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_json(text: str, problems: Collector) -> NoReturn:
    try:
        json.loads(text, parse_constant=_constant)
        problems.add("", "no object", "JSON that begins with {")
    except json.JSONDecodeError as error:
        at = Node(line=error.lineno, column=error.colno)
        problems.add("", error.msg, "JSON, because the file's name says so", at)
    except (ValueError, RecursionError) as error:
        problems.add("", str(error), "JSON, because the file's name says so")
    raise problems.error()


_SYNTAX: Final = (
    # What the parser says, what it means, what to do. The parser's own words may
    # quote a part of the file, which may be a secret, where it comes to names.
    (r"character '\\t'", "a tab", "blanks: YAML takes no tabs outside of quotes"),
    (r"character '(.)' that", "a value that begins with {0}", "such text in quotes"),
    ("mapping values", "a second ': ' in a value, or wrong indentation", "such text in quotes"),
    ("undefined alias", "a value that begins with *", "such text in quotes"),
    ("constructor for the tag", "a value that begins with !", "such text in quotes"),
    ("another document", "a second document after ---", "one document in a file"),
)


def _add_syntax(error: yaml.MarkedYAMLError, problems: Collector) -> None:
    mark = error.problem_mark or error.context_mark
    at = None if mark is None else Node(line=mark.line + 1, column=mark.column + 1)
    said = " ".join(part for part in (error.context, error.problem) if part)
    for pattern, found, wanted in _SYNTAX:
        match = re.search(pattern, said)
        if match is not None:
            problems.add("", found.format(*match.groups()), wanted, at)
            return
    problems.add("", said.replace("found ", ""), "YAML", at)


_STANDARD: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE: Final = "tag:yaml.org,2002:merge"
_FAILURES: Final = (
    # What PyYAML's constructors raise for text that its resolver has promised.
    yaml.YAMLError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    TypeError,
)


class _Converter:
    """Makes our tree of YAML's; values that are used twice are converted once."""

    def __init__(
        self, loader: yaml.SafeLoader, problems: Collector, language: Literal["YAML", "JSON"]
    ) -> None:
        self._loader = loader
        self._problems = problems
        self._language: Literal["YAML", "JSON"] = language
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()

    def convert(self, node: yaml.Node, key: str, depth: int) -> Node:
        done = self._done.get(id(node))
        if done is not None:
            return done
        at = self._located(node)
        if id(node) in self._open:
            self._problems.add(key, "an alias of what it stands in", "no such circle", at)
            return at
        if depth > MAX_DEPTH:
            self._problems.add(key, "a value nested too deeply", f"{MAX_DEPTH} levels at most", at)
            return at
        self._open.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            made = self._scalar(node, key, at)
        elif isinstance(node, yaml.MappingNode) and node.tag in _STANDARD:
            made = attrs.evolve(at, entries=tuple(self._entries(node, key, depth).values()))
        elif isinstance(node, yaml.SequenceNode) and node.tag in _STANDARD:
            values = enumerate(node.value)
            items = tuple(self.convert(each, f"{key}[{at}]", depth + 1) for at, each in values)
            made = attrs.evolve(at, items=items)
        else:
            made = attrs.evolve(at, value=self._construct(node, key, at))
        self._open.discard(id(node))
        self._done[id(node)] = made
        return made

    def _located(self, node: yaml.Node) -> Node:
        mark = node.start_mark
        return Node(language=self._language, line=mark.line + 1, column=mark.column + 1)

    def _scalar(self, node: yaml.ScalarNode, key: str, at: Node) -> Node:
        text = node.value
        quoted = node.style is not None
        if self._language == "JSON":
            value = _join_surrogates(text) if quoted else json.loads(text)
        else:
            value = self._construct(node, key, at)
        return attrs.evolve(at, value=value, written=text, quoted=quoted)

    def _construct(self, node: yaml.Node, key: str, at: Node) -> Any:
        try:
            return self._loader.construct_object(node, deep=True)
        except _FAILURES:
            # A tag of the author's may be a secret that begins with "!".
            prefix, _, kind = node.tag.rpartition(":")
            found = f"what YAML takes for a {kind}, but it is none"
            if not prefix:
                found = "a value that begins with !"
            self._problems.add(key, found, "text; put it in quotes", at)
            return FAILED

    def _entries(self, node: yaml.MappingNode, key: str, depth: int) -> dict[Any, Entry]:
        merged: dict[Any, Entry] = {}
        own: dict[Any, Entry] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE and self._language == "YAML":
                for name, entry in self._merged(value_node, key, depth).items():
                    merged.setdefault(name, entry)
                continue
            at = self._located(key_node)
            name = self.convert(key_node, key, depth + 1).value
            path = f"{key}.{name}" if key else str(name)
            if isinstance(key_node, yaml.CollectionNode) or not _hashable(name):
                self._problems.add(path, "a key that is not text", "text", at)
                continue
            value = self.convert(value_node, path, depth + 1)
            if name in own:
                found = f"a key that stands already in line {own[name].line}"
                self._problems.add(path, found, "each key once", at)
            own[name] = Entry(name, value, at.line, at.column)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, key: str, depth: int) -> dict[Any, Entry]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[Any, Entry] = {}
        for source in sources:
            at = self._located(source)
            entries = self.convert(source, f"{key}.<<", depth + 1).entries
            if entries is None:
                self._problems.add(f"{key}.<<", "no mapping", "a mapping to merge", at)
            for entry in entries or ():
                merged.setdefault(entry.name, entry)
        return merged


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _join_surrogates(text: str) -> str:
    # YAML reads JSON's \ud83d\ude00 as two characters.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def node_from(value: Any, problems: Collector, key: str = "", depth: int = 0) -> Node:
    """Return the tree of a value that was made in code; it has no places."""
    if depth > MAX_DEPTH:
        problems.add(key, "a value nested too deeply", f"{MAX_DEPTH} levels at most")
    elif isinstance(value, Mapping):
        return Node(
            entries=tuple(
                Entry(name, node_from(each, problems, f"{key}.{name}".lstrip("."), depth + 1))
                for name, each in value.items()
            )
        )
    elif isinstance(value, (list, tuple)):
        each = (
            node_from(item, problems, f"{key}[{at}]", depth + 1) for at, item in enumerate(value)
        )
        return Node(items=tuple(each))
    return Node(value=value)


def to_plain(node: Node) -> Any:
    """Return dictionaries, lists and scalars; what was shared in the file stays shared."""
    return _to_plain(node, {})


def _to_plain(node: Node, done: dict[int, Any]) -> Any:
    if id(node) in done:
        return done[id(node)]
    if node.entries is not None:
        made: Any = {entry.name: _to_plain(entry.node, done) for entry in node.entries}
    elif node.items is not None:
        made = [_to_plain(item, done) for item in node.items]
    else:
        made = node.value
    done[id(node)] = made
    return made


class ExpandError(ValueError):
    """A ``${…}`` cannot be replaced.

    :ivar found: what stands there, without the text around it.
    :ivar wanted: what would be right.
    """

    def __init__(self, found: str, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(f"found {found}, wanted {wanted}")


_REFERENCE: Final = re.compile(r"\$(?:(\$)|\{((?:[^{}$]|\$(?!\{))*)(\}?))")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.ASCII | re.DOTALL)


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``${NAME}``, ``${NAME:-default}`` and ``$$``.

    The default also stands for an empty variable, as in the shell. Any other
    ``$`` is itself, as at the end of a regular expression. What a variable
    holds is not looked at again.

    :raises ExpandError: for an unset variable without a default, and for a
        ``${`` that is neither form.
    """

    def replaced(match: re.Match[str]) -> str:
        dollar, inside, close = match.groups()
        if dollar:
            return "$"
        named = _NAME.fullmatch(inside)
        if not close or named is None:
            raise ExpandError("a ${ that is no ${NAME}", "${NAME} or ${NAME:-default}; $${ for ${")
        name, alternative, default = named.groups()
        if env.get(name) or (alternative is None and name in env):
            return env[name]
        if alternative is None:
            found = f"${{{name}}}, which is not set in the environment"
            raise ExpandError(found, f"the variable, or ${{{name}:-default}}")
        return str(default).replace("$$", "$")

    return _REFERENCE.sub(replaced, text)


class _Failed:
    def __repr__(self) -> str:
        return "<reported>"


FAILED: Final = _Failed()
"""Stands for a value that has been reported, so that nobody reports it again."""


def expand_tree(node: Node, env: Mapping[str, str], key: str, problems: Collector) -> Node:
    """Return the tree with every text expanded; keys stay as they are."""
    done: dict[int, Node] = {}

    def walk(node: Node, key: str) -> Node:
        if id(node) not in done:
            done[id(node)] = expanded(node, key)
        return done[id(node)]

    def expanded(node: Node, key: str) -> Node:
        if node.entries is not None:
            entries = (
                attrs.evolve(entry, node=walk(entry.node, f"{key}.{entry.name}"))
                for entry in node.entries
            )
            return attrs.evolve(node, entries=tuple(entries))
        if node.items is not None:
            items = (walk(item, f"{key}[{at}]") for at, item in enumerate(node.items))
            return attrs.evolve(node, items=tuple(items))
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            text = expand(node.value, env)
        except ExpandError as error:
            problems.add(key, error.found, error.wanted, node)
            return attrs.evolve(node, value=FAILED)
        return attrs.evolve(node, value=text, expanded=text != node.value)

    return walk(node, key)


def describe(node: Node, *, secret: bool = False) -> str:
    """Say what stands there: as written, and what YAML made of it.

    :param secret: tell the kind only.
    """
    if node.entries is not None:
        return "a mapping"
    if node.items is not None:
        return "a list"
    kind = _kind(node.value)
    if isinstance(node.value, str):
        return kind if secret else _shown(repr(node.value))
    if node.written == "" and node.value is None:
        return "nothing"
    if secret:
        return kind
    if node.language is None or node.written is None:
        return _shown(repr(node.value))
    if isinstance(node.value, (int, float)) and node.written == str(node.value):
        return f"{_shown(node.written)}, which is {kind}"
    return f"{_shown(node.written)}, which {node.language} reads as {_reading(node.value, kind)}"


_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (str, "text"),
    (bool, "a boolean"),
    (int, "a number"),
    (float, "a number"),
    (datetime.date, "a date"),
    (type(None), "null"),
)


def _kind(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


def _reading(value: Any, kind: str) -> str:
    if value is None:
        return "null, that is nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int) and abs(value) > 10**18:
        return "a very large number"
    return f"the {kind.removeprefix('a ')} {_shown(str(value))}"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
