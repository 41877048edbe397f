"""Layers of signatures, lists, roles and policies, and of the audit log."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from backplane.choria.facts import parse_fact
from backplane.choria.masking import mask
from backplane.errors import ConfigError, DecodeError
from backplane.security.allowlist import (
    DEFAULT_ALLOWED,
    DEFAULT_PRIVILEGED,
    AllowList,
    split_items,
)
from backplane.security.auditchain import (
    MAX_LINE,
    START,
    AuditEntry,
    Phase,
    build_line,
    digest,
    parse_line,
)
from backplane.security.auditverify import read_lines, verify
from backplane.security.policy import parse_groups, parse_policy
from backplane.security.roles import Roles
from backplane.security.signing import SecureVerifier
from tests.fuzz.corpus import secure_documents, table
from tests.fuzz.engine import Layer
from tests.fuzz.layers_certificates import NOW, authorities
from tests.fuzz.strategies import values

__all__ = ["LAYERS"]


@cache
def _verifier() -> SecureVerifier:
    return SecureVerifier(
        authorities(),
        AllowList(DEFAULT_ALLOWED, setting="allow"),
        AllowList(DEFAULT_PRIVILEGED, setting="privileged"),
    )


@cache
def _signed() -> tuple[str, str, str]:
    """Return message, signature and certificate of a captured request."""
    for document in map(json.loads, secure_documents("request")):
        if "rip.mcollective" in document["message"] and "BEGIN" in document["pubcert"]:
            found = document["message"], document["signature"], document["pubcert"]
            if _verifier().verify(*found, "choria=rip.mcollective", NOW):
                return found
    raise LookupError("nothing signed was captured")


def _signature(text: str) -> object:
    """Verify a signature; nobody can make another that is good for the same message."""
    message, signature, pubcert = _signed()
    name = _verifier().verify(message, text, pubcert, "choria=rip.mcollective", NOW)
    if text.replace("\r", "").replace("\n", "") != signature:
        raise AssertionError("another signature was taken")
    return name


def _allowed(text: str) -> object:
    allow = AllowList(split_items(text), setting="allow")
    return allow.matches("sre.choria"), allow.warnings


def _roles(text: str) -> object:
    roles = Roles.compile(full=[text], read_only=["1stline.choria"])
    return roles.role_of("choria=sre.choria"), roles.role_of(text)


def _policy(text: str) -> object:
    def check(fact: str) -> str | None:
        try:
            parse_fact(fact)
        except ValueError:
            return "a fact"
        return None

    groups = parse_groups("ops choria=bob.mcollective choria=sre.choria\n")
    policy = parse_policy(text, groups=groups, check_fact=check)
    policy.admits("choria=sre.choria")
    return policy.decide("choria=sre.choria", "info", lambda fact: True, ("role::web",))


POLICIES: Final = (
    "policy default deny\n\nallow\tops\t*\tenv=test\t*\nallow\t/^choria=sre\\./\tinfo ping\t*\t*\n",
    "# a\npolicy default allow\ndeny\tchoria=rip.mcollective\tshutdown\t*\t*\n",
    "allow\tchoria=rip.mcollective choria=a\t*\tcpus>=4 os.release=~/^9/\tweb /^role::/\n",
)


def _audit(data: bytes) -> object:
    return verify([("audit.log", read_lines(io.BytesIO(data)))], [START])


def _chain() -> Sequence[bytes]:
    lines, previous = [], START
    for number, phase in enumerate((Phase.ONLY, Phase.BEGIN, Phase.END), 1):
        lines.append(_line({"action": phase.value}, number, previous, phase))
        previous = digest(lines[-1])
    return [b"".join(lines), lines[0], b"".join(lines[1:])]


def _line(fields: dict[str, Any], number: int, previous: str, phase: Phase) -> bytes:
    entry = AuditEntry(
        request_id=str(fields.get("id", "4c6600b84c8a4252af55da66b37dd558")),
        request_time=int(NOW),
        caller=str(fields.get("caller", "choria=sre.choria")),
        sender=str(fields.get("sender", "client1.example.net")),
        agent="backplane",
        action=str(fields.get("action", "info")),
        data=fields.get("data", {}),
        signer=str(fields.get("signer", "sre.choria")),
        secure=True,
    )
    return build_line(
        entry,
        NOW,
        phase=phase,
        decision="allow",
        rule=str(fields.get("rule", "full")),
        outcome="ok",
        duration=0.1,
        link=(number, previous),
        mask=mask,
    )


def _entry(text: str) -> object:
    """Write a line about what a caller sent: it is one line, short, and can be read."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = {"data": text, "caller": text, "action": text, "rule": text}
    line = _line(fields if isinstance(fields, dict) else {"data": fields}, 1, START, Phase.ONLY)
    if len(line) > MAX_LINE or line.count(b"\n") != 1 or not line.isascii():
        raise AssertionError(f"a line of {len(line)} bytes")
    if parse_line(line) is None:
        raise AssertionError("it cannot be read again")
    return line


LAYERS: Final = (
    Layer(
        name="signatures",
        read=_signature,
        errors=(DecodeError,),
        seeds=lambda: [_signed()[1], "insecure", "aW5zZWN1cmUgcmVnaXN0cmF0aW9u"],
        words=("=", "A", "+", "/", "-", "_", "insecure", "\r\n"),
        weight=4,
    ),
    Layer(
        name="allow lists",
        read=_allowed,
        errors=(ConfigError,),
        seeds=lambda: [case["text"] for case in table("allow_lists")["cases"]],
        words=("\\.", "choria", "$", "^", "/", ",", "(", ")", "[", "]", "*", "+", "{9}", "(?i)"),
        weight=3,
    ),
    Layer(
        name="roles",
        read=_roles,
        errors=(ValueError,),
        seeds=lambda: ["sre.choria", "/^choria=.*/", "sre\\.(choria|mcollective)", "choria=a.*"],
        words=("choria=", "sre", ".", "*", "(", ")", "|", "\\", "^", "$", "[", "]", "{2}"),
        weight=2,
    ),
    Layer(
        name="policies",
        read=_policy,
        errors=(ConfigError,),
        seeds=lambda: POLICIES,
        words=("allow", "deny", "policy default ", "\t", " ", "*", "\n", "#", "/", "=", "ops"),
        weight=4,
    ),
    Layer(
        name="groups of policies",
        read=parse_groups,
        errors=(ConfigError,),
        seeds=lambda: ["ops choria=bob.mcollective choria=eve.mcollective\ndeploy choria=ci\n"],
        words=("ops", "choria=", "bob", " ", "\t", "\n", "#", ".", "-"),
        weight=1,
    ),
    Layer(
        name="audit lines",
        read=_audit,
        errors=(),
        seeds=_chain,
        words=('{"timestamp":"', '"seq":', '"previous":"', '"torn":{', '"size":', "\n", START),
        binary=True,
        weight=4,
    ),
    Layer(
        name="audit lines, written",
        read=_entry,
        errors=(),
        seeds=lambda: ['{"caller":"choria=a","data":{"password":"x"}}', '{"action":"\\u001b[2J"}'],
        made=st.dictionaries(
            st.sampled_from(["id", "caller", "sender", "action", "data", "signer", "rule"]), values
        ).map(json.dumps),
        weight=3,
    ),
)
