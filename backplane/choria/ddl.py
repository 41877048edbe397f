"""DDL: what an agent can do, for clients; as JSON for Choria, as Ruby for ``mco``.

Source: Choria protocol 4.4 and 6.4, ``mcorpc/ddl/v1/agent.json``.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from backplane.choria.rpc import ActionError, StatusCode
from backplane.patterns import PatternError, compile_pattern, search

__all__ = ["DDL", "ActionDDL", "Aggregate", "Input", "Metadata", "Output", "check_inputs"]

SCHEMA: Final = "https://choria.io/schemas/mcorpc/ddl/v1/agent.json"

InputType = Literal["string", "boolean", "integer", "float", "number", "Hash", "Array", "list"]

MAX_LISTED: Final = 20
"""Names that an error text lists."""

_AGENT_NAME: Final = re.compile(r"[a-z0-9_]+")
_ITEM_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?([-+.][0-9A-Za-z.+-]+)?")


def _matches(pattern: re.Pattern[str], what: str) -> Callable[[Any, Any, str], None]:
    def check(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"{attribute.name} {value!r} is not {what}")

    return check


@attrs.frozen(kw_only=True)
class Metadata:
    """Who made an agent, and how long it may take.

    :ivar name: small letters, digits and underscores.
    :ivar version: such as ``1.2.3``.
    :ivar timeout: seconds that an action may take, at least 2.
    """

    name: str = attrs.field(
        validator=_matches(_AGENT_NAME, "of small letters, digits and underscores")
    )
    description: str
    version: str = attrs.field(validator=_matches(_VERSION, "a version such as 1.2.3"))
    author: str
    license: str = "unspecified"
    url: str = "unspecified"
    timeout: int = attrs.field(default=10, validator=attrs.validators.ge(2))


@attrs.frozen(kw_only=True)
class Input:
    """An input of an action.

    :ivar prompt: short text for people who are asked for it.
    :ivar validation: for strings: a regular expression (RE2, searched), or one of
        ``shellsafe``, ``ipv4address``, ``ipv6address``, ``ipaddress``.
    :ivar maxlength: for strings, in characters; 0 is no limit.
    :ivar choices: for type ``list``: the values allowed.
    """

    name: str = attrs.field(validator=_matches(_ITEM_NAME, "a name of letters and digits"))
    prompt: str
    description: str
    type: InputType
    optional: bool = False
    default: Any = None
    validation: str = "."
    maxlength: int = 0
    choices: tuple[str, ...] = attrs.field(default=(), converter=tuple)

    def __attrs_post_init__(self) -> None:
        if self.type not in _TYPES:
            raise ValueError(f"input {self.name}: {self.type!r} is not one of {', '.join(_TYPES)}")
        if self.type == "list" and not self.choices:
            raise ValueError(f"input {self.name}: a list needs choices")
        if self.type == "string" and self.validation not in _VALIDATORS:
            compile_pattern(self.validation)
        if self.maxlength < 0:
            raise ValueError(f"input {self.name}: maxlength {self.maxlength} is below 0")
        reason = None if self.default is None else _wrong(self, self.default)
        if reason:
            raise ValueError(f"input {self.name}: the default {self.default!r} {reason}")


@attrs.frozen(kw_only=True)
class Output:
    """An output of an action; ``type`` as that of an input, or ``None``."""

    name: str = attrs.field(validator=_matches(_ITEM_NAME, "a name of letters and digits"))
    description: str
    display_as: str
    type: str | None = None
    default: Any = None


@attrs.frozen(kw_only=True)
class Aggregate:
    """A summary that clients make: ``function`` is ``summary``, ``average`` or ``chart``.

    :ivar args: name of the output, then perhaps a mapping with a ``format``.
    """

    function: str
    args: tuple[Any, ...]


@attrs.frozen(kw_only=True)
class ActionDDL:
    """Declaration of one action; ``display`` says which replies clients show."""

    name: str = attrs.field(validator=_matches(_ITEM_NAME, "a name of letters and digits"))
    description: str
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    display: Literal["ok", "failed", "always"] = "failed"
    aggregates: tuple[Aggregate, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.description, str):
            raise TypeError(f"action {self.name}: the description must be text")
        _check_items(self, "input", Input, self.inputs)
        _check_items(self, "output", Output, self.outputs)


@attrs.frozen(kw_only=True)
class DDL:
    """The whole declaration of an agent."""

    metadata: Metadata
    actions: tuple[ActionDDL, ...] = ()

    def to_json(self) -> str:
        """Return the text of ``NAME.json`` for Choria."""
        document = {
            "$schema": SCHEMA,
            "metadata": attrs.asdict(self.metadata),
            "actions": [_action(action) for action in self.actions],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def to_ruby(self) -> str:
        """Return the text of ``NAME.ddl`` for ``mco``."""
        names = ("name", "description", "author", "license", "version", "url", "timeout")
        fields = [(name, _ruby(getattr(self.metadata, name))) for name in names]
        lines = [_call("metadata", fields), ""]
        for action in self.actions:
            lines += [*_ruby_action(action), ""]
        return "\n".join(lines)


def _check_items(
    action: ActionDDL, what: str, kind: type[Input] | type[Output], items: tuple[Any, ...]
) -> None:
    names = set()
    for item in items:
        if not isinstance(item, kind):
            raise TypeError(
                f"action {action.name}: {what}s are made by {kind.__name__}(…), "
                f"not {type(item).__name__}"
            )
        if item.name in names:
            raise ValueError(f"action {action.name}: two {what}s are named {item.name}")
        names.add(item.name)


def _action(action: ActionDDL) -> dict[str, Any]:
    return {
        "action": action.name,
        "input": {item.name: _input(item) for item in action.inputs},
        "output": {item.name: _output(item) for item in action.outputs},
        "display": action.display,
        "description": action.description,
        "aggregate": [
            {"function": item.function, "args": list(item.args)} for item in action.aggregates
        ],
    }


def _input(item: Input) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "prompt": item.prompt,
        "description": item.description,
        "type": item.type,
        "optional": item.optional,
    }
    if item.default is not None:
        fields["default"] = item.default
    if item.type == "string":
        fields["validation"] = item.validation
        fields["maxlength"] = item.maxlength
    if item.choices:
        fields["list"] = list(item.choices)
    return fields


def _output(item: Output) -> dict[str, Any]:
    fields: dict[str, Any] = {"description": item.description, "display_as": item.display_as}
    if item.type is not None:
        fields["type"] = item.type
    if item.default is not None:
        fields["default"] = item.default
    return fields


def _ruby(value: object) -> str:
    """Return a Ruby literal; ``#`` is escaped, as it may begin an interpolation."""
    if value is None:
        return "nil"
    if isinstance(value, dict):
        inner = ", ".join(f"{_ruby(key)} => {_ruby(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_ruby(item) for item in value)}]"
    # Ruby reads UTF-8 and refuses the surrogate pairs of JSON's escapes.
    return json.dumps(value, ensure_ascii=False).replace("#", "\\#")


def _call(head: str, fields: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in fields)
    indent = " " * (len(head) + 1)
    return f"{head} " + f",\n{indent}".join(
        f":{name.ljust(width)} => {value}" for name, value in fields
    )


def _ruby_action(action: ActionDDL) -> list[str]:
    lines = [f"action {_ruby(action.name)}, :description => {_ruby(action.description)} do"]
    lines += [f"  display :{action.display}", ""]
    for item in action.inputs:
        fields = [
            ("prompt", _ruby(item.prompt)),
            ("description", _ruby(item.description)),
            ("type", f":{item.type.lower()}"),
            ("optional", _ruby(item.optional)),
        ]
        if item.default is not None:
            fields.append(("default", _ruby(item.default)))
        if item.type == "string":
            named = item.validation in _VALIDATORS
            fields.append(
                ("validation", f":{item.validation}" if named else _ruby(item.validation))
            )
            fields.append(("maxlength", str(item.maxlength)))
        if item.choices:
            fields.append(("list", _ruby(item.choices)))
        lines += [_call(f"  input :{item.name},", fields), ""]
    for output in action.outputs:
        fields = [
            ("description", _ruby(output.description)),
            ("display_as", _ruby(output.display_as)),
        ]
        if output.type is not None:
            fields.append(("type", _ruby(output.type)))
        if output.default is not None:
            fields.append(("default", _ruby(output.default)))
        lines += [_call(f"  output :{output.name},", fields), ""]
    if action.aggregates:
        lines.append("  summarize do")
        for aggregate in action.aggregates:
            name, *rest = aggregate.args
            # mco looks for the symbol, not for the text.
            shown = [_ruby(item).replace('{"format" =>', "{:format =>") for item in rest]
            args = ", ".join([f":{name}", *shown])
            lines.append(f"    aggregate {aggregate.function}({args})")
        lines.append("  end")
    elif lines[-1] == "":
        lines.pop()
    return [*lines, "end"]


def check_inputs(action: ActionDDL, data: object) -> dict[str, Any]:
    """Return the inputs of a request, with defaults, after checking them.

    ``process_results``, which Ruby clients always add, is no input.

    :raises ActionError: ``INVALID_DATA``, naming the first input that is wrong.
    """
    if not isinstance(data, Mapping):
        raise _invalid("the inputs are not an object")
    given = {name: value for name, value in data.items() if name != "process_results"}
    declared = {item.name: item for item in action.inputs}
    unknown = sorted(given.keys() - declared.keys())
    if unknown and not declared:
        raise _invalid("request contains inputs while none are declared in the DDL")
    if unknown:
        valid = ", ".join(sorted(declared)[:MAX_LISTED])
        raise _invalid(
            f"request contains an input {unknown[0][:60]!r} that is not declared in the DDL. "
            f"Valid inputs are: {valid}"
        )
    for name, item in declared.items():
        if name not in given:
            if item.default is not None:
                given[name] = copy.deepcopy(item.default)
            elif not item.optional:
                raise _invalid(f"input {name!r} is required")
            continue
        reason = _wrong(item, given[name])
        if reason:
            raise _invalid(f"validation failed for input {name!r}: {reason}")
    return given


def _invalid(reason: str) -> ActionError:
    return ActionError(f"Validation failed: {reason}", StatusCode.INVALID_DATA)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _whole,
    "float": lambda value: isinstance(value, float) or _whole(value),
    "number": lambda value: isinstance(value, float) or _whole(value),
    "Hash": lambda value: isinstance(value, dict),
    "Array": lambda value: isinstance(value, list),
    "list": lambda value: isinstance(value, str),
}

_ARTICLES: Final = {"integer": "an integer", "Array": "an array", "Hash": "a hash"}


def _address(version: int | None) -> Callable[[str], bool]:
    def valid(text: str) -> bool:
        if "%" in text:
            return False  # a zone may be any text, shell commands included
        try:
            found = ipaddress.ip_address(text)
        except ValueError:
            return False
        return version is None or found.version == version

    return valid


_VALIDATORS: Final[Mapping[str, Callable[[str], bool]]] = {
    "shellsafe": lambda text: not any(char in text for char in "`$;|&><"),
    "ipv4address": _address(4),
    "ipv6address": _address(6),
    "ipaddress": _address(None),
}


def _wrong(item: Input, value: object) -> str | None:
    if not _TYPES[item.type](value):
        return f"is not {_ARTICLES.get(item.type, 'a ' + item.type)}"
    if item.type == "list" and value not in item.choices:
        return f"should be one of {', '.join(item.choices[:MAX_LISTED])}"
    if item.type != "string":
        return None
    assert isinstance(value, str)
    if item.maxlength and len(value) > item.maxlength:
        return f"is longer than {item.maxlength} characters"
    named = _VALIDATORS.get(item.validation)
    if named is not None:
        return None if named(value) else f"is not {item.validation}"
    try:
        matched = search(item.validation, value)
    except PatternError:  # pragma: no cover - refused when the input was declared
        return "cannot be checked"
    return None if matched else f"does not match {item.validation}"
