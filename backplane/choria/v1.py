"""Protocol version 1: four nested documents, opened and made one at a time.

``transport { base64( secure { JSON text( request or reply { body } ) } ) }``

A signature or hash covers the UTF-8 bytes of the inner text as it was
received; nothing is serialised again before it is checked. Unknown keys are
allowed everywhere, as real peers add some.

Source: ``choria:transport:1``, ``choria:secure:request:1``, ``choria:request:1``,
``choria:secure:reply:1``, ``choria:reply:1``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from backplane.choria.documents import (
    check_keys,
    decode_base64,
    dumps,
    integer,
    nested,
    parse_object,
    quoted,
    text,
)
from backplane.choria.filter import decode_filter, encode_filter
from backplane.choria.message import Reply, Request
from backplane.errors import DecodeError

__all__ = [
    "SecureReply",
    "SecureRequest",
    "Signer",
    "Transport",
    "decode_reply",
    "decode_request",
    "decode_secure_reply",
    "decode_secure_request",
    "decode_transport",
    "encode_request",
    "encode_transport",
    "open_reply",
    "request_body",
    "seal_reply",
    "seal_request",
]

TRANSPORT: Final = "choria:transport:1"
SECURE_REQUEST: Final = "choria:secure:request:1"
SECURE_REPLY: Final = "choria:secure:reply:1"
REQUEST: Final = "choria:request:1"
REPLY: Final = "choria:reply:1"

MIN_TTL: Final = 30
"""Smallest TTL that the schema allows, in seconds."""

MAX_HOPS: Final = 64
"""Most ``seen-by`` hops; a message passes a few brokers."""

MAX_FEDERATION_TARGETS: Final = 1000
"""Most targets of a federated message; clients send at most 200."""

_HOST_KEYS: Final = frozenset({"reply-to", "mc_sender", "seen-by", "federation"})
_ENVELOPE_KEYS: Final = frozenset(
    {"requestid", "senderid", "callerid", "collective", "agent", "ttl", "time", "filter"}
)


class Signer(Protocol):
    """Signs what we send."""

    def sign(self, message: bytes) -> tuple[str, str]:
        """Return the ``signature`` and ``pubcert`` of a secure request."""
        ...


@attrs.frozen(kw_only=True)
class Transport:
    """``choria:transport:1``.

    :ivar data: the secure document, decoded from base64.
    :ivar sender: identity of the sending host (``mc_sender``), may be empty.
    :ivar reply_to: where the answer goes, or ``None``.
    :ivar federation: federation headers, to be copied into the reply, or ``None``.
    :ivar seen_by: hops.
    """

    data: bytes
    sender: str = ""
    reply_to: str | None = None
    federation: Mapping[str, Any] | None = None
    seen_by: tuple[tuple[str, ...], ...] = ()


@attrs.frozen(kw_only=True)
class SecureRequest:
    """``choria:secure:request:1``; ``message`` is what is signed."""

    message: str
    signature: str
    pubcert: str


@attrs.frozen(kw_only=True)
class SecureReply:
    """``choria:secure:reply:1``."""

    message: str
    hash: str


def _protocol(document: Mapping[str, Any], layer: str, wanted: str) -> None:
    found = document.get("protocol")
    if found != wanted:
        shown = repr(found[:60]) if isinstance(found, str) else type(found).__name__
        raise DecodeError("bad_protocol", layer, f"protocol is {shown}, wanted {wanted!r}")


def decode_transport(payload: bytes) -> Transport:
    """Read a transport document and decode its data.

    :raises DecodeError: for anything else; headers that are null or missing included.
    """
    layer = "transport"
    document = parse_object(payload, layer, known=("protocol", "data", "headers"))
    _protocol(document, layer, TRANSPORT)
    headers = nested(document, "headers", layer, _HOST_KEYS)
    reply_to = None
    if headers.get("reply-to") is not None:
        reply_to = text(headers, "reply-to", layer)
    federation = headers.get("federation")
    if federation is not None:
        _check_federation(federation, layer)
    return Transport(
        data=decode_base64(text(document, "data", layer), layer),
        sender=text(headers, "mc_sender", layer) if headers.get("mc_sender") is not None else "",
        reply_to=reply_to or None,
        federation=federation,
        seen_by=_hops(headers.get("seen-by"), layer),
    )


def _check_federation(federation: object, layer: str) -> None:
    if not isinstance(federation, dict):
        raise DecodeError("bad_field", layer, "federation is not an object")
    check_keys(federation, layer, ("req", "reply-to", "target"))
    for key in ("req", "reply-to"):
        if federation.get(key) is not None:
            text(federation, key, layer)
    targets = federation.get("target")
    if targets is not None and not (
        isinstance(targets, list)
        and len(targets) <= MAX_FEDERATION_TARGETS
        and all(isinstance(target, str) for target in targets)
    ):
        raise DecodeError("bad_field", layer, "federation target is not a list of subjects")


def _hops(value: object, layer: str) -> tuple[tuple[str, ...], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_HOPS:
        raise DecodeError("bad_field", layer, "seen-by is not a list of hops")
    for hop in value:
        if hop is not None and not (
            isinstance(hop, list) and all(item is None or isinstance(item, str) for item in hop)
        ):
            raise DecodeError("bad_field", layer, "a seen-by hop is not a list of text")
    return tuple(tuple(item or "" for item in hop or ()) for hop in value)


def decode_secure_request(data: bytes) -> SecureRequest:
    """Read a secure request; :raises DecodeError: for anything else."""
    layer = "secure_request"
    document = parse_object(data, layer, known=("protocol", "message", "signature", "pubcert"))
    _protocol(document, layer, SECURE_REQUEST)
    return SecureRequest(
        message=text(document, "message", layer, least=1),
        signature=text(document, "signature", layer, least=1),
        pubcert=text(document, "pubcert", layer, least=1),
    )


def decode_request(message: str) -> Request:
    """Read a request; :raises DecodeError: for anything else."""
    layer = "request"
    document = parse_object(message, layer, known=("protocol", "message", "envelope"))
    _protocol(document, layer, REQUEST)
    envelope = nested(document, "envelope", layer, _ENVELOPE_KEYS)
    request_id = text(envelope, "requestid", layer)
    if len(request_id) != 32:
        raise DecodeError("bad_field", layer, "requestid does not have 32 characters")
    ttl = integer(envelope, "ttl", layer)
    if ttl < MIN_TTL:
        raise DecodeError("bad_field", layer, f"ttl is less than {MIN_TTL}")
    if "filter" not in envelope:
        raise DecodeError("missing_field", layer, "filter is missing")
    return Request(
        message=text(document, "message", layer, least=1),
        request_id=request_id,
        sender_id=text(envelope, "senderid", layer),
        caller_id=text(envelope, "callerid", layer, least=1),
        collective=text(envelope, "collective", layer, least=1),
        agent=text(envelope, "agent", layer, least=1),
        ttl=ttl,
        time=integer(envelope, "time", layer),
        filter=decode_filter(envelope["filter"]),
    )


def request_body(message: str) -> bytes:
    """Return what the agent gets of ``request.message``.

    If the text is strict base64 the decoded bytes, else the text itself.
    """
    if message.startswith("{"):
        return message.encode("utf-8", "surrogatepass")  # which no base64 begins with
    try:
        return decode_base64(message, "request")
    except DecodeError:
        return message.encode("utf-8", "surrogatepass")


def decode_secure_reply(data: bytes) -> SecureReply:
    """Read a secure reply; :raises DecodeError: for anything else."""
    layer = "secure_reply"
    document = parse_object(data, layer, known=("protocol", "message", "hash"))
    _protocol(document, layer, SECURE_REPLY)
    return SecureReply(
        message=text(document, "message", layer), hash=text(document, "hash", layer, default="")
    )


def decode_reply(message: str) -> Reply:
    """Read a reply; :raises DecodeError: for anything else."""
    layer = "reply"
    document = parse_object(message, layer, known=("protocol", "message", "envelope"))
    _protocol(document, layer, REPLY)
    envelope = nested(document, "envelope", layer, ("requestid", "senderid", "agent", "time"))
    return Reply(
        message=text(document, "message", layer, default=""),
        request_id=text(envelope, "requestid", layer, default=""),
        sender_id=text(envelope, "senderid", layer, default=""),
        agent=text(envelope, "agent", layer, default=""),
        time=integer(envelope, "time", layer) if "time" in envelope else 0,
    )


def open_reply(payload: bytes) -> tuple[Transport, Reply]:
    """Open a reply through all its layers and check its hash.

    :raises DecodeError: with the reason ``bad_hash``, or as the layers.
    """
    transport = decode_transport(payload)
    secure = decode_secure_reply(transport.data)
    if not hmac.compare_digest(secure.hash.encode("utf-8", "replace"), _hash(secure.message)):
        raise DecodeError("bad_hash", "secure_reply", "the hash is not that of the message")
    return transport, decode_reply(secure.message)


def _hash(message: str) -> bytes:
    digest = hashlib.sha256(message.encode("utf-8", "surrogatepass")).digest()
    return base64.b64encode(digest)


def encode_request(request: Request) -> str:
    """Return the request document."""
    return dumps(
        {
            "protocol": REQUEST,
            "message": request.message,
            "envelope": {
                "requestid": request.request_id,
                "senderid": request.sender_id,
                "callerid": request.caller_id,
                "collective": request.collective,
                "agent": request.agent,
                "ttl": request.ttl,
                "time": request.time,
                "filter": encode_filter(request.filter),
            },
        }
    )


def seal_request(request: Request, signer: Signer) -> bytes:
    """Return the secure request document of a request."""
    message = encode_request(request)
    signature, pubcert = signer.sign(message.encode())
    return dumps(
        {
            "protocol": SECURE_REQUEST,
            "message": message,
            "signature": signature,
            "pubcert": pubcert,
        }
    ).encode()


def seal_reply(reply: Reply) -> bytes:
    """Return the secure reply document of a reply."""
    # Written out, as a service does nothing else all day.
    message = (
        f'{{"protocol":"{REPLY}","message":{quoted(reply.message)},"envelope":{{'
        f'"requestid":{quoted(reply.request_id)},"senderid":{quoted(reply.sender_id)},'
        f'"agent":{quoted(reply.agent)},"time":{reply.time:d}}}}}'
    )
    digest = _hash(message).decode()
    return (
        f'{{"protocol":"{SECURE_REPLY}","message":{quoted(message)},"hash":"{digest}"}}'
    ).encode()


def encode_transport(
    data: bytes,
    *,
    sender: str,
    reply_to: str | None = None,
    seen_by: Sequence[Sequence[str]] = (),
    federation: Mapping[str, Any] | None = None,
) -> bytes:
    """Return what is published: the transport document around a secure document."""
    headers: dict[str, Any] = {}
    if reply_to is not None:
        headers["reply-to"] = reply_to
    headers["mc_sender"] = sender
    if seen_by:
        headers["seen-by"] = [list(hop) for hop in seen_by]
    if federation is not None:
        headers["federation"] = dict(federation)
    return b'{"protocol":"%b","data":"%b","headers":%b}' % (
        TRANSPORT.encode(),
        base64.b64encode(data),
        dumps(headers).encode(),
    )
