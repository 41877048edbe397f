"""What may be altered in a signed request, and what it is refused for: one table.

It is used twice: against a service in memory, and once against a running one.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from tests.altered_row import Row, form
from tests.altering import (
    CALLER,
    COLLECTIVE,
    IDENTITY,
    SUBJECT,
    TIME,
    defective,
    flipped,
    flipped_certificate,
    issued,
    replace,
)
from tests.damaged import DAMAGED
from tests.security.authority import vector

__all__ = ["REPEATS", "ROWS"]


def _envelope(name: str, reason: str, words: str, **fields: Any) -> Row:
    return form(name, reason, words, envelope=fields)


def _filter(name: str, words: str, **lists: Any) -> Row:
    empty: dict[str, Any] = {"fact": [], "cf_class": [], "identity": [], "compound": []}
    return _envelope(f"no match: {name}", "filtered", words, filter={**empty, **lists})


def _reply_to(name: str, subject: str, words: str) -> Row:
    detail = f"reply-to {subject!r}: {words}"
    return form(f"reply-to {name}", "bad_reply_to", detail, headers={"reply-to": subject})


_PRIVATE: Final = "the fact, class or compound filter does not match"
_PUBLIC: Final = "the agent or identity filter does not match"
_NOT_SIGNED: Final = "secure_request: not signed with the key of 'rip.mcollective'"

SIGNATURES: Final = (
    # Nobody can tell a message that was altered from a signature that was.
    form(
        "flipped byte in the message",
        "bad_signature",
        _NOT_SIGNED,
        message=replace("pause", "qause"),
    ),
    form(
        "flipped byte in the signature",
        "bad_signature",
        _NOT_SIGNED,
        signature=lambda text: flipped(text, 7),
    ),
    form(
        "signed with another's key",
        "bad_signature",
        _NOT_SIGNED,
        signer="sre.choria",
        pubcert=vector(CALLER),
    ),
    form(
        "signature cut short",
        "bad_signature",
        "secure_request: a signature of 253 bytes, wanted 256",
        signature=lambda text: base64.b64encode(base64.b64decode(text)[:-3]).decode(),
    ),
    form(
        "unsigned in the secure mode",
        "insecure",
        "secure_request: unsigned, in the name of 'rip.mcollective'",
        signature=lambda text: "insecure",
        pubcert="insecure",
    ),
    form(
        "signature left out",
        "insecure",
        "secure_request: unsigned, in the name of 'rip.mcollective'",
        signature=lambda text: "insecure",
    ),
    form(
        "unsigned as registration is",
        "bad_certificate",
        "secure_request: the certificate cannot be read",
        signature=lambda text: base64.b64encode(b"insecure registration").decode(),
        pubcert="insecure registration",
    ),
)

CERTIFICATES: Final = (
    *(
        form(
            f"flipped byte in the certificate's {part}",
            "bad_certificate",
            "secure_request: certificate 'CN=rip.mcollective': certificate signature failure"
            if part != "name"
            else "secure_request: certificate 'CN=sip.mcollective': certificate signature failure",
            pubcert=flipped_certificate(part),
        )
        for part in ("name", "key", "signature")
    ),
    form(
        "another authority's certificate",
        "unknown_ca",
        "secure_request: certificate 'CN=sre.choria': unable to get local issuer certificate",
        **defective("other-ca"),
    ),
    form(
        "expired certificate",
        "certificate_expired",
        "secure_request: certificate 'CN=sre.choria': certificate has expired",
        **defective("expired"),
    ),
    form(
        "certificate not yet valid",
        "certificate_not_yet_valid",
        "secure_request: certificate 'CN=sre.choria': certificate is not yet valid",
        **defective("not-yet-valid"),
    ),
    form(
        "certificate with the wrong key usage",
        "wrong_key_usage",
        "secure_request: the certificate's key usage does not allow signing",
        pubcert=issued("key_encipherment"),
    ),
    form(
        "certificate for servers only",
        "wrong_purpose",
        "secure_request: certificate 'CN=sre.choria' is not for client authentication",
        **defective("server-auth-only"),
    ),
    form(
        "certificate with an EC key",
        "unsupported_key",
        "secure_request: the certificate has an EC key (secp384r1), wanted an RSA key",
        pubcert=issued("ec"),
    ),
    form(
        "certificate with an Ed25519 key",
        "unsupported_key",
        "secure_request: the certificate has an Ed25519 key, wanted an RSA key",
        pubcert=issued("ed25519"),
    ),
    form(
        "another's name",
        "name_mismatch",
        "secure_request: certificate of 'rip.mcollective' used by 'sre.choria'",
        envelope={"callerid": "choria=sre.choria"},
    ),
    *(
        _envelope(
            f"caller id with {what} after it",
            "bad_callerid",
            f"request: caller id {f'choria=rip.mcollective{more}'!r} is not of the form",
            callerid=f"choria=rip.mcollective{more}",
        )
        for what, more in (
            ("text", " sre.choria"),
            ("another", ",choria=sre.choria"),
            ("a line", "\nchoria=sre.choria"),
        )
    ),
    form(
        "name not on the allow list",
        "not_allowed",
        "secure_request: 'outsider.example.net' is not on the allow list",
        signer="outsider.example.net",
        envelope={"callerid": "choria=outsider.example.net"},
    ),
)

PLACES: Final = (
    _envelope(
        "other collective",
        "other_collective",
        "collective 'mcollective' is not ours",
        collective="mcollective",
    ),
    _envelope("other agent", "unknown_agent", "no agent 'package' here", agent="package"),
    _envelope(
        "time to live passed",
        "expired",
        f"from 'choria=rip.mcollective', made at '{TIME - 61}', time to live 60 s",
        time=TIME - 61,
    ),
    _envelope(
        "time in the future",
        "future",
        f"from 'choria=rip.mcollective', made at '{TIME + 90}', time to live 60 s",
        time=TIME + 90,
    ),
    _envelope(
        "time to live above the cap",
        "ttl_too_long",
        "time to live above the cap of 600 s",
        ttl=601,
    ),
    _envelope("time to live below the least", "bad_field", "request: ttl is less than 30", ttl=29),
    _filter("identity", _PUBLIC, identity=["app2.example.net", "/^node/"]),
    _filter("agent", _PUBLIC, agent=["package"]),
    _filter("fact", _PRIVATE, fact=[{"fact": "dc", "operator": "==", "value": "DC2"}]),
    _filter("class", _PRIVATE, cf_class=["role::db"]),
    _filter("expression", _PRIVATE, compound=[[{"expr": 'fact("dc") == "DC2"'}]]),
    _reply_to("with a wildcard", f"{COLLECTIVE}.reply.*", "has a wildcard"),
    _reply_to("with the other wildcard", f"{COLLECTIVE}.reply.>", "has a wildcard"),
    _reply_to("into $SYS", "$SYS.REQ.SERVER.PING", "is a subject of the broker's own"),
    _reply_to("into $SYS like a reply", "$SYS.replies.a", "is a subject of the broker's own"),
    _reply_to("at a node", f"{COLLECTIVE}.node.{IDENTITY}", "is where requests go"),
    _reply_to("at any node", f"{COLLECTIVE}.node.*", "has a wildcard"),
    _reply_to("at all", f"{COLLECTIVE}.broadcast.agent.backplane", "is where requests go"),
    _reply_to("elsewhere", "accounting.orders", "is not a reply subject"),
    _reply_to(
        "with a line end", "a.reply.b\r\nPUB x 0\r\n\r\n", "has blanks or control characters"
    ),
    form(
        "no reply-to",
        "no_reply_to",
        "the message does not say where to answer",
        transport=replace('"reply-to"', '"answer-to"'),
    ),
)

ROWS: Final[tuple[Row, ...]] = (*SIGNATURES, *CERTIFICATES, *PLACES, *DAMAGED)
"""Each is sent to a service that has not seen the captured request."""

_AGAIN: Final = "request '4c6600b84c8a4252af55da66b37dd558' of 'choria=rip.mcollective' again"


def _again(name: str, subject: str = SUBJECT, **changes: Any) -> Row:
    return form(name, "repeated", _AGAIN, subject, **changes)


REPEATS: Final[tuple[Row, ...]] = (
    _again("the same document"),
    _again("its base64 wrapped otherwise", data=lambda text: "\r\n".join((text[:60], text[60:]))),
    _again("with another reply-to", headers={"reply-to": f"{COLLECTIVE}.reply.elsewhere.1"}),
    _again("with other headers", headers={"mc_sender": "client2.example.net", "seen-by": []}),
    _again("to all services", subject=f"{COLLECTIVE}.broadcast.agent.backplane"),
    _again(
        "its JSON written otherwise", secure=lambda text: json.dumps(json.loads(text), indent=1)
    ),
    _again("with white space around it", transport=lambda text: f" {text}\n"),
)
"""Each is sent to a service that has acted upon the captured request."""
