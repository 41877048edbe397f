"""Captured signed requests of the real programs, verified at their own time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

import attrs
from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import DecodeError
from backplane.security.allowlist import DEFAULT_ALLOWED, DEFAULT_PRIVILEGED, AllowList
from backplane.security.chains import Authorities, load_authorities
from backplane.security.signing import SecureVerifier
from tests.vectors_support import open_document

VECTORS: Final = Path(__file__).parent.parent / "vectors"

REFUSED: Final = {
    # What the scenario's own request is refused for, whatever the server's age.
    "reject-discovery-impersonation": "name_mismatch",
    "reject-expired": "certificate_expired",
    "reject-impersonation": "name_mismatch",
    "reject-insecure-to-secure": "insecure",
    "reject-intermediate-missing": "unknown_ca",
    "reject-not-on-allow-list": "not_allowed",
    "reject-not-yet-valid": "certificate_not_yet_valid",
    "reject-other-ca": "unknown_ca",
    "reject-server-auth-only": "wrong_purpose",
    "san-differs-name-is-neither": "name_mismatch",
    "cache-1-insecure-request-is-refused-but-cached": "insecure",
}
"""By scenario; with ``server-`` in front the same."""

CACHE_ONLY: Final = frozenset(
    {"cache-2-rightful-caller-now-refused", "cache-4-reissued-certificate-refused"}
)
"""Refused by servers of 0.23 for what is in their cache; we have none on disk."""


@attrs.frozen
class Signed:
    """A captured request.

    :ivar scenario: without folder.
    :ivar ca: path of the CA that its servers trusted.
    """

    scenario: str
    ca: str
    time: float
    message: str
    signature: str
    pubcert: str
    caller_id: str


def _requests(path: Path, ca: Path) -> Iterator[Signed]:
    document = json.loads(path.read_text())
    at, offset = document["captured_at"], 0.0
    if isinstance(at, str):
        offset = datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    for message in document["messages"]:
        if "choria:transport:1" not in message["payload"]:
            continue
        opened = open_document(message["payload"].encode())
        secure = opened.secure
        # What a service publishes is a request in form only: nobody verifies it.
        if opened.is_reply or opened.envelope["agent"] == "registration":
            continue
        yield Signed(
            scenario=path.stem,
            ca=str(ca),
            time=offset + message["t"],
            message=secure["message"],
            signature=secure["signature"],
            pubcert=secure["pubcert"],
            caller_id=opened.envelope["callerid"],
        )


@cache
def captured() -> tuple[Signed, ...]:
    """Return every request of the secure captures of both clients."""
    found: list[Signed] = []
    for pattern, ca in (("secure/*.json", "pki"), ("ruby/secure-*.json", "ruby/pki")):
        for path in sorted(VECTORS.glob(pattern)):
            found += _requests(path, VECTORS / ca / "ca.pem")
    return tuple(found)


def verifier(authorities: Authorities) -> SecureVerifier:
    """Return one with Choria's default lists, as the captured servers had them."""
    return SecureVerifier(
        authorities,
        AllowList(DEFAULT_ALLOWED, setting="allow"),
        AllowList(DEFAULT_PRIVILEGED, setting="privileged"),
    )


class CapturedTests(SynchronousTestCase):
    """Everything that was captured."""

    def test_verdicts(self) -> None:
        """Each is taken for its caller's, or refused for the reason of its scenario."""
        verifiers: dict[str, SecureVerifier] = {}
        taken: Counter[str] = Counter()
        reasons: dict[str, set[str]] = {}
        for each in captured():
            if each.ca not in verifiers:
                verifiers[each.ca] = verifier(load_authorities(each.ca))
            arguments = (each.message, each.signature, each.pubcert, each.caller_id, each.time)
            try:
                signer = verifiers[each.ca].verify(*arguments)
            except DecodeError as error:
                self.assertEqual(error.layer, "secure_request")
                reasons.setdefault(each.scenario, set()).add(error.reason)
            else:
                taken[each.ca] += 1
                self.assertEqual(f"choria={signer}", each.caller_id, each.scenario)
        self.assertEqual(
            reasons,
            {
                scenario: {REFUSED[scenario.removeprefix("server-")]}
                for scenario in sorted({each.scenario for each in captured()})
                if scenario.removeprefix("server-") in REFUSED
            },
        )
        self.assertEqual({name.removeprefix("server-") for name in reasons}, set(REFUSED))
        self.assertTrue(CACHE_ONLY.isdisjoint(reasons))
        self.assertGreater(min(taken.values()), 50)
        self.assertEqual(len(taken), 2)

    def test_chains_are_built_once(self) -> None:
        """All requests of a client's captures cost a chain for each certificate only."""
        for name in ("pki", "ruby/pki"):
            ca = str(VECTORS / name / "ca.pem")
            authorities = load_authorities(ca)
            verify = verifier(authorities).verify
            taken: set[str] = set()
            for each in captured():
                if each.ca == ca and each.scenario.removeprefix("server-") not in REFUSED:
                    arguments = (each.message, each.signature, each.pubcert)
                    verify(*arguments, each.caller_id, each.time)
                    taken.add(each.pubcert)
            self.assertEqual(authorities.chains_built, len(taken))

    def test_other_authority(self) -> None:
        """Nothing of one client passes where the other's authority is trusted."""
        trusted = {"pki": "ruby/pki", "ruby/pki": "pki"}
        for own, other in trusted.items():
            ca = str(VECTORS / own / "ca.pem")
            each = next(item for item in captured() if item.ca == ca)
            verify = verifier(load_authorities(str(VECTORS / other / "ca.pem"))).verify
            error = self.assertRaises(
                DecodeError,
                verify,
                *(each.message, each.signature, each.pubcert, each.caller_id, each.time),
            )
            self.assertEqual(error.reason, "unknown_ca")
