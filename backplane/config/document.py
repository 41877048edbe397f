"""Reading YAML and JSON files, with the places of their mistakes."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Final, NoReturn

import yaml

from backplane.config.convert import Converter
from backplane.config.nodes import MAX_DEPTH, Node
from backplane.config.problems import Collector

__all__ = ["load_document", "parse_document", "read_file"]


def read_file(path: str) -> bytes:
    """Return a file's content; :raises OSError: when it cannot be read."""
    with open(path, "rb") as stream:
        return stream.read()


def load_document(
    path: str, problems: Collector | None = None, read: Callable[[str], bytes] = read_file
) -> Node:
    """Read a YAML or JSON file.

    :param read: returns a file's content, or raises :exc:`OSError`.
    :param problems: takes mistakes that let the rest be read, such as a key that
        stands twice; without one they are raised as well.
    :raises ConfigError: when the file cannot be read or is no YAML.
    """
    collector = Collector(path) if problems is None else problems
    try:
        data = read(path)
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
        return Converter(loader, problems, "JSON" if as_json else "YAML").convert(root, "", 0)
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
    ("undefined alias|scanning an alias", "a value that begins with *", "such text in quotes"),
    ("scanning an anchor|duplicate anchor", "a value that begins with &", "such text in quotes"),
    (
        "constructor for the tag|(scan|pars)ing a tag|tag handle",
        "a value that begins with !",
        "such text in quotes",
    ),
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
