"""Layers of a message, each by itself: documents, bodies, names, declarations."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

from backplane.choria import rpc, v1
from backplane.choria.ddl import DDL, ActionDDL, Input, InputType, Metadata, Output, check_inputs
from backplane.choria.masking import hide, mask
from backplane.choria.rpc import ActionError
from backplane.choria.subjects import check_reply_to
from backplane.errors import DecodeError
from backplane.patterns import PatternError
from backplane.security.names import caller_id_for, certname_of
from tests.fuzz.corpus import bodies, inner_documents, payloads, secure_documents, table
from tests.fuzz.engine import Layer
from tests.fuzz.strategies import documents, values

__all__ = ["LAYERS"]


def _reply(payload: bytes) -> object:
    _, reply = v1.open_reply(payload)
    return rpc.decode_reply(reply.message)


def _reply_text(text: str) -> object:
    reply = v1.decode_reply(text)
    return rpc.decode_reply(reply.message)


def _body(text: str) -> object:
    """Read a body as an agent does, and what asks for its inputs."""
    asked = rpc.decode_request(v1.request_body(text))
    check_inputs(STOCK, asked.data)
    return mask(asked.data), hide(asked.data)


def _names(text: str) -> object:
    if check_reply_to(text) is None:
        assert text.split() == [text]
    name = certname_of(text)
    return caller_id_for(name)


KINDS: Final[tuple[InputType, ...]] = (
    *("string", "boolean", "integer", "float"),
    *("number", "Hash", "Array"),
)

CHOICES: Final[Any] = ("a", "b")

STOCK: Final = ActionDDL(
    name="stock",
    description="All kinds of inputs",
    inputs=(
        *(
            Input(name=f"a_{kind}", prompt="a", description="a", type=kind, optional=True)
            for kind in KINDS
        ),
        *(
            Input(
                name=f"v_{validation}",
                prompt="v",
                description="v",
                type="string",
                optional=True,
                validation=validation,
            )
            for validation in ("shellsafe", "ipv4address", "ipv6address", "ipaddress")
        ),
        Input(
            name="fact",
            prompt="f",
            description="f",
            type="string",
            optional=True,
            validation="^.+$",
        ),
        Input(
            name="item",
            prompt="i",
            description="i",
            type="list",
            optional=True,
            choices=CHOICES,
        ),
    ),
)


def _declaration(text: str) -> object:
    """Declare an agent with a text in every place, and write both forms of it."""
    text.encode()  # the declarations are files
    choices: Any = (text, "a")
    made = DDL(
        metadata=Metadata(name="stock", description=text, version="1.0.0", author=text, url=text),
        actions=(
            ActionDDL(
                name="count",
                description=text,
                inputs=(
                    Input(
                        name="item", prompt=text, description=text, type="string", validation=text
                    ),
                    Input(name="kind", prompt="", description="", type="list", choices=choices),
                ),
                outputs=(Output(name="count", description=text, display_as=text, default=text),),
            ),
        ),
    )
    if json.loads(made.to_json())["metadata"]["author"] != text:
        raise AssertionError("the JSON says something else")
    ruby = made.to_ruby()
    if not _RUBY_CODE.fullmatch(_RUBY_TEXT.sub("", ruby)):
        raise AssertionError("a text ends too early in Ruby")
    if any(_RUBY_RUN.search(text) for text in _RUBY_TEXT.findall(ruby)):
        raise AssertionError("Ruby would run what is in a text")
    return ruby


_RUBY_TEXT: Final = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_RUBY_CODE: Final = re.compile(r"[\w\s:=>,\[\]]*", re.ASCII)
_RUBY_RUN: Final = re.compile(r"(?<!\\)(?:\\\\)*#[{$@]")


_KEYS: Final = ("envelope", "message", "signature", "pubcert", "hash", "data", "headers")
_ENVELOPE: Final = (
    *("requestid", "senderid", "callerid", "collective", "agent", "ttl", "time", "filter"),
    *("fact", "cf_class", "identity", "compound", "operator", "value", "expr"),
)
_JSON: Final = tuple(f'"{key}":' for key in (*_KEYS, *_ENVELOPE))


def _callers() -> Sequence[str]:
    cases = [case["callerid"] for case in table("callerids")["cases"]]
    return [*cases, "app_backplane.reply.cb504717a797.1", "choria.federation.a.collective"]


def _schema(level: str) -> list[str]:
    cases = table("schema_checks")["cases"]
    return [case["document"] for case in cases if case["level"] == level]


_message: Final = documents(*_KEYS, protocol="choria:request:1")
_envelopes: Final = documents(*_ENVELOPE).map(
    lambda text: f'{{"protocol":"choria:request:1","message":"x","envelope":{text}}}'
)

LAYERS: Final = (
    Layer(
        name="transport",
        read=v1.decode_transport,
        errors=(DecodeError,),
        seeds=lambda: [*payloads("request"), *(each.encode() for each in _schema("transport"))],
        words=_JSON,
        made=documents(
            *("data", "headers", "mc_sender", "reply-to", "seen-by", "federation", "target"),
            protocol="choria:transport:1",
        ).map(str.encode),
        binary=True,
        weight=7,
    ),
    Layer(
        name="secure request",
        read=v1.decode_secure_request,
        errors=(DecodeError,),
        seeds=lambda: [
            *secure_documents("request"),
            *(each.encode() for each in _schema("secure")),
        ],
        words=_JSON,
        made=documents(*_KEYS, protocol="choria:secure:request:1").map(str.encode),
        binary=True,
        weight=7,
    ),
    Layer(
        name="request",
        read=v1.decode_request,
        errors=(DecodeError,),
        seeds=lambda: [*inner_documents("request"), *_schema("request")],
        words=_JSON,
        made=_message | _envelopes,
        weight=8,
    ),
    Layer(
        name="body, inputs",
        read=_body,
        errors=(ActionError,),
        seeds=lambda: bodies("request"),
        words=("agent", "action", "data", '{"', '":', '"}', "cGluZw==", '"ping"', "=", "null"),
        made=documents("agent", "action", "data", "caller")
        | st.dictionaries(st.sampled_from([each.name for each in STOCK.inputs]), values).map(
            lambda data: json.dumps({"agent": "a", "action": "b", "data": data})
        ),
        weight=7,
    ),
    Layer(
        name="reply, whole",
        read=_reply,
        errors=(DecodeError,),
        seeds=lambda: payloads("reply"),
        words=_JSON,
        binary=True,
        weight=4,
    ),
    Layer(
        name="secure reply",
        read=v1.decode_secure_reply,
        errors=(DecodeError,),
        seeds=lambda: secure_documents("reply"),
        words=_JSON,
        made=documents("message", "hash", protocol="choria:secure:reply:1").map(str.encode),
        binary=True,
        weight=3,
    ),
    Layer(
        name="reply, its body",
        read=_reply_text,
        errors=(DecodeError,),
        seeds=lambda: inner_documents("reply"),
        words=(*_JSON, '"statuscode":', '"statusmsg":'),
        made=documents(*_KEYS, protocol="choria:reply:1"),
        weight=4,
    ),
    Layer(
        name="caller ids, reply-to",
        read=_names,
        errors=(DecodeError,),
        seeds=_callers,
        words=("choria", "=", ".", "sre", "$SYS", "reply", "*", ">", " ", "\r\n", "node", "-", "_"),
        weight=3,
    ),
    Layer(
        name="declarations (DDL)",
        read=_declaration,
        errors=(PatternError, ValueError),
        seeds=lambda: ("Counts", 'a "quoted" \\ text', "#{`id`}", "shellsafe", "^[a-z]+$", "'"),
        words=("#{", "}", '"', "'", "\\", "\n", "do", "end", "`", "=begin", "__END__", "%q(", "#"),
        weight=3,
    ),
)
