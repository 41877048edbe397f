"""Rows of the table of altered forms: sizes, nesting, keys, damage at each layer."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from tests.altered_row import Row, form, heard
from tests.altering import BODY, CALLER, altered, deep, replace
from tests.security.authority import vector

__all__ = ["DAMAGED"]

_UNREAD: Final = (
    "Could not process request: could not parse incoming message "
    "as a MCollective SimpleRPC Request: "
)
_START: Final = '{"protocol"'
_DEEP: Final = f'{{"deep":{deep()},"protocol"'
_MIB: Final = 1024 * 1024


def _wrapped(text: str | bytes) -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    return base64.b64encode(raw).decode()


def _edit(part: str, old: str, new: str) -> dict[str, Any]:
    return {part: replace(old, new)}


BOUNDS: Final = (
    # Made when it is sent: it is large.
    Row(
        "body of 10 MiB",
        "too_large",
        "13984131 bytes, at most 1048576 are read",
        lambda: altered(body=json.dumps({"agent": "backplane", "data": "x" * (10 * _MIB)})),
    ),
    form(
        "deep nesting in the transport",
        "too_deep",
        "transport: more than 64 levels",
        transport=replace(_START, _DEEP),
    ),
    form(
        "deep nesting in the secure request",
        "too_deep",
        "secure_request: more than 64 levels",
        secure=replace(_START, _DEEP),
    ),
    form(
        "deep nesting in the request",
        "too_deep",
        "request: more than 64 levels",
        request=replace(_START, _DEEP),
    ),
    form(
        "deep nesting without end",
        "too_many_values",
        "request: more than 20000 values",
        request=replace(_START, f'{{"deep":{deep(30_000)},"protocol"'),
    ),
    heard(
        "deep nesting in the body",
        f"{_UNREAD}more than 64 levels",
        body=BODY.replace("{", f'{{"deep":{deep()},', 1),
    ),
    heard(
        "deep nesting in the data",
        f"{_UNREAD}more than 64 levels",
        body=BODY.replace("{}", f'{{"deep":{deep()}}}'),
    ),
)

_TWICE: Final = "an object has the same key twice"

KEYS: Final = (
    *(
        form(
            f"key twice in the {name}",
            "duplicate_key",
            f"{layer}: {_TWICE}",
            **_edit(part, before, before + more),
        )
        for name, layer, part, before, more in (
            ("transport", "transport", "transport", "{", '"data":"",'),
            ("headers", "transport", "transport", '"headers":{', '"reply-to":"",'),
            ("secure request", "secure_request", "secure", "{", '"signature":"",'),
            ("request", "request", "request", "{", '"message":"",'),
            ("envelope", "request", "request", '"ttl":60', ',"ttl":600'),
            ("filter", "request", "request", '"fact":[]', ',"fact":[]'),
        )
    ),
    heard(
        "key twice in the body", _UNREAD + _TWICE, body=BODY.replace("{", '{"action":"ping",', 1)
    ),
    heard("key twice in the data", _UNREAD + _TWICE, body=BODY.replace("{}", '{"a":1,"a":2}')),
    *(
        form(
            f"key in other case in the {name}",
            "case_variant_key",
            f"{layer}: the key {key!r}",
            **_edit(part, before, f'{before}"{key}":{value},'),
        )
        for name, layer, part, before, key, value in (
            ("transport", "transport", "transport", "{", "Data", '""'),
            ("headers", "transport", "transport", '"headers":{', "Reply-To", '""'),
            ("secure request", "secure_request", "secure", "{", "\u017fignature", '""'),
            ("request", "request", "request", "{", "Message", '""'),
            ("envelope", "request", "request", '"envelope":{', "TTL", "5"),
            ("filter", "filter", "request", '"filter":{', "IDENTITY", "[]"),
        )
    ),
    heard(
        "key in other case in the body",
        _UNREAD + "the key 'Action'",
        body=BODY.replace("{", '{"Action":"ping",', 1),
    ),
    heard(
        "key in other case in the data",
        "fact must be text of 1 to 512 characters",
        body='{"agent":"rpcutil","action":"get_fact","data":{"FACT":"dc"}}',
        envelope={"agent": "rpcutil"},
    ),
)

_BROKEN: Final = replace('"protocol":', '"protocol";')

DAMAGE: Final = (
    form("JSON damaged in the transport", "not_json", "transport: not JSON: ", transport=_BROKEN),
    form(
        "JSON damaged in the secure request",
        "not_json",
        "secure_request: not JSON: ",
        secure=_BROKEN,
    ),
    form("JSON damaged in the request", "not_json", "request: not JSON: ", request=_BROKEN),
    heard("JSON damaged in the body", f"{_UNREAD}not JSON: ", body=BODY[:-1]),
    heard("JSON damaged in the data", f"{_UNREAD}not JSON: ", body=BODY.replace("{}", '{"a":}')),
    form(
        "base64 damaged in the transport",
        "bad_base64",
        "transport: not standard base64",
        data=lambda text: f"{text[:40]}!{text[41:]}",
    ),
    form(
        "base64 without its padding",
        "bad_base64",
        "transport: not standard base64",
        data=lambda text: text.rstrip("=")[:-1],
    ),
    form(
        "base64 damaged in the signature",
        "bad_base64",
        "secure_request: the signature is not standard base64",
        signature=replace("+", "-"),
    ),
    form(
        "base64 damaged in the certificate",
        "bad_certificate",
        "secure_request: the certificate cannot be read",
        pubcert=vector(CALLER).replace("MII", "M-I", 1),
    ),
    heard("base64 damaged in the body", f"{_UNREAD}not JSON: ", body=f"!{_wrapped(BODY)[1:]}"),
    form(
        "transport not UTF-8",
        "not_utf8",
        "transport: not UTF-8 at byte ",
        transport=replace('"mc_sender":"', '"mc_sender":"\xff'),
    ),
    form(
        "secure request not UTF-8",
        "not_utf8",
        "secure_request: not UTF-8 at byte ",
        secure_bytes=b'{"protocol":"choria:secure:request:1","signature":"\xff"}',
    ),
    form(
        "request not UTF-8",
        "bad_signature",
        "secure_request: not signed with the key of 'rip.mcollective'",
        secure=replace("client1", r"\ud800client1"),
    ),
    heard("body not UTF-8", f"{_UNREAD}not UTF-8 at byte 1", body=_wrapped(b"{\xff}")),
    heard(
        "data not UTF-8",
        f"{_UNREAD}not UTF-8 at byte 51",
        body=_wrapped(BODY.replace("{}", '{"a":"~"}').encode().replace(b"~", b"\xff")),
    ),
)

DAMAGED: Final = (*BOUNDS, *KEYS, *DAMAGE)
