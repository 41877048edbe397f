"""A captured signed request, taken apart and put together again with one thing altered.

What is not altered stays byte for byte: the signature of RSA PKCS #1 v1.5 is the
same each time it is made, so that nothing altered gives the captured bytes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.security.authority import PKI, Authority, pem, vector, vector_key
from tests.vectors_support import VECTORS

__all__ = [
    "BODY",
    "CALLER",
    "CAPTURED",
    "COLLECTIVE",
    "IDENTITY",
    "SUBJECT",
    "TIME",
    "altered",
    "deep",
    "defective",
    "flipped",
    "flipped_certificate",
    "issued",
    "replace",
]

IDENTITY: Final = "app1.example.net"
COLLECTIVE: Final = "demo_backplane"
CALLER: Final = "rip.mcollective"
SUBJECT: Final = f"{COLLECTIVE}.node.{IDENTITY}"
BODY: Final = '{"agent":"backplane","action":"pause","data":{}}'

Edit = Callable[[str], str]


def _captured() -> str:
    scenario = json.loads((VECTORS / "secure" / "bp-pause.json").read_text())
    (payload,) = (each["payload"] for each in scenario["messages"] if each["subject"] == SUBJECT)
    return str(payload)


CAPTURED: Final = _captured()
"""The Go command line pauses a service: a change, by a caller who may do everything."""

_TRANSPORT: Final = json.loads(CAPTURED)
_MESSAGE: Final = json.loads(base64.b64decode(_TRANSPORT["data"]))["message"]

TIME: Final[int] = json.loads(_MESSAGE)["envelope"]["time"]
"""When it was made, Unix time."""


def altered(
    *,
    signer: str = CALLER,
    pubcert: str | None = None,
    envelope: Mapping[str, Any] | None = None,
    body: str | None = None,
    request: Edit | None = None,
    message: Edit | None = None,
    signature: Edit | None = None,
    secure: Edit | None = None,
    secure_bytes: bytes | None = None,
    data: Edit | None = None,
    headers: Mapping[str, Any] | None = None,
    transport: Edit | None = None,
) -> bytes:
    """Return the captured request with what is given altered, from the inside out.

    :param signer: whose key signs, and whose certificate goes along.
    :param pubcert: another certificate.
    :param envelope: fields of the request to replace.
    :param body: what the agent is asked, in place of :data:`BODY`.
    :param request: alters the text of the request before it is signed.
    :param message: the same after it is signed.
    :param signature: alters the signature.
    :param secure: alters the text of the secure request.
    :param secure_bytes: what is there in place of the secure request.
    :param data: alters the base64 of it.
    :param headers: of the transport, to replace.
    :param transport: alters the text of the transport document; a character stands
        for the byte of its number.
    """
    text = _MESSAGE
    if envelope or body is not None:
        document = json.loads(text)
        document["envelope"].update(envelope or {})
        document["message"] = BODY if body is None else body
        text = _compact(document)
    text = _edited(request, text)
    signed = vector_key(signer).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    inner = {
        "protocol": "choria:secure:request:1",
        "message": _edited(message, text),
        "signature": _edited(signature, base64.b64encode(signed).decode()),
        "pubcert": vector(signer) if pubcert is None else pubcert,
    }
    plain = secure_bytes if secure_bytes is not None else _edited(secure, _compact(inner)).encode()
    outer = {
        "protocol": "choria:transport:1",
        "data": _edited(data, base64.b64encode(plain).decode()),
        "headers": {**_TRANSPORT["headers"], **(headers or {})},
    }
    return _edited(transport, _compact(outer)).encode("latin-1")


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _edited(edit: Edit | None, text: str) -> str:
    return text if edit is None else edit(text)


def replace(old: str, new: str) -> Edit:
    """Return what replaces the first ``old``, which must be there."""

    def edit(text: str) -> str:
        if old not in text:
            raise ValueError(f"{old!r} is not in {text[:300]!r}")
        return text.replace(old, new, 1)

    return edit


def flipped(encoded: str, place: int) -> str:
    """Return base64 with the lowest bit of one byte the other way round."""
    raw = bytearray(base64.b64decode(encoded))
    raw[place] ^= 1
    return base64.b64encode(raw).decode()


def deep(levels: int = 65) -> str:
    """Return JSON nested so deeply, one level more than is read by default."""
    return "[" * levels + "]" * levels


def defective(name: str) -> dict[str, Any]:
    """Return arguments for a request of ``sre.choria`` with a defective certificate."""
    return {
        "signer": "sre.choria",
        "envelope": {"callerid": "choria=sre.choria"},
        "pubcert": vector(f"defective/{name}"),
    }


def flipped_certificate(part: str) -> str:
    """Return the caller's certificate with one bit the other way round.

    :param part: ``name``, ``key``, or ``signature`` of the authority.
    """
    begin, *lines, end = vector(CALLER).splitlines()
    encoded = "".join(lines)
    raw = base64.b64decode(encoded)
    modulus = vector_key(CALLER).public_key().public_numbers().n
    places = {
        "name": raw.index(CALLER.encode()),
        "key": raw.index(modulus.to_bytes(256, "big")) + 100,
        "signature": -1,
    }
    return "\n".join([begin, flipped(encoded, places[part]), end, ""])


@cache
def issued(what: str) -> str:
    """Return a certificate of the trusted authority with the caller's name.

    :param what: ``key_encipherment`` for one that is not for signing, ``ec`` or
        ``ed25519`` for one with such a key.
    """
    key = load_pem_private_key((PKI / "ca.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    authority = Authority(x509.load_pem_x509_certificate(vector("ca").encode()), key)
    usage = what if what == "key_encipherment" else "digital_signature"
    public: CertificatePublicKeyTypes = vector_key(CALLER).public_key()
    if what == "ec":
        public = ec.generate_private_key(ec.SECP384R1()).public_key()
    elif what == "ed25519":
        public = ed25519.Ed25519PrivateKey.generate().public_key()
    return pem(authority.issue(CALLER, public, usages=(usage,)))
