"""Signing and verifying, without keys and with them."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Final, cast

import attrs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.v1 import Signer
from backplane.errors import DecodeError
from backplane.security.allowlist import DEFAULT_PRIVILEGED, AllowList, split_items
from backplane.security.certificates import VerifiedCertificate
from backplane.security.chains import Authorities
from backplane.security.pemfiles import KeyPair, load_key_pair
from backplane.security.signing import (
    InsecureSigner,
    InsecureVerifier,
    SecureSigner,
    SecureVerifier,
    Verifier,
)
from tests.security.authority import NOW, PKI, Authority, pem, vector, vector_key
from tests.security.known_answer import (
    KNOWN_CA,
    KNOWN_CERTIFICATE,
    KNOWN_MESSAGE,
    KNOWN_SHA256,
    KNOWN_SIGNATURE,
)
from tests.security.test_secure_vectors import captured

MESSAGE: Final = '{"protocol":"choria:request:1","message":"ping","envelope":{}}'


def pair(name: str) -> KeyPair:
    """Return certificate and key of a caller of the captures."""
    return load_key_pair(str(PKI / f"{name}.pem"), str(PKI / f"{name}.key"))


@cache
def signature_of(name: str) -> str:
    """Return the signature of :data:`MESSAGE` with a key of the captures."""
    raw = vector_key(name).sign(MESSAGE.encode(), padding.PKCS1v15(), hashes.SHA256())
    return base64.b64encode(raw).decode()


SIGNED: Final = (vector("sre.choria"), signature_of("sre.choria"))


def signed_by(name: str, caller: str = "") -> dict[str, str]:
    """Return the parts of a request that somebody signed, in his or another's name."""
    return {
        "signature": signature_of(name),
        "pubcert": vector(name),
        "caller_id": f"choria={caller or name}",
    }


def make_verifier(
    *, ca: bytes = b"", delegation: bool = True, allow: str = r"\.mcollective$,\.choria$"
) -> SecureVerifier:
    """Return one with the authority of the captures."""
    return SecureVerifier(
        Authorities.from_pem(ca or vector("ca").encode()),
        AllowList(split_items(allow), setting="allow"),
        AllowList(DEFAULT_PRIVILEGED, setting="privileged"),
        delegation=delegation,
    )


GARBAGE: Final = make_verifier()


def verify(verifier: Verifier | None = None, **changes: str) -> str:
    """Verify a good request of ``sre.choria``, with changes."""
    given = {
        "message": MESSAGE,
        "signature": SIGNED[1],
        "pubcert": SIGNED[0],
        "caller_id": "choria=sre.choria",
        **changes,
    }
    return (verifier or make_verifier()).verify(**given, now=NOW)


def flipped(certificate: str, place: int) -> str:
    """Return a certificate with one byte of its DER changed."""
    head, *lines, end = certificate.strip().split("\n")
    raw = bytearray(base64.b64decode("".join(lines)))
    raw[place] ^= 1
    return "\n".join((head, base64.b64encode(raw).decode(), end))


class InsecureTests(SynchronousTestCase):
    """Signing and verifying without keys."""

    def test_signs_nothing(self) -> None:
        """Signature and certificate are the word that Choria's insecure mode has there."""
        self.assertEqual(InsecureSigner().sign(b"anything"), ("insecure", "insecure"))

    def test_accepts_everything(self) -> None:
        """Insecure, signed and nonsensical requests are all taken for what they say."""
        verifier: Verifier = InsecureVerifier()
        for signature, pubcert in (
            ("insecure", "insecure"),
            ("c2lnbmF0dXJl", "-----BEGIN CERTIFICATE-----\n"),
            ("\ud800", "\0"),
        ):
            found = verifier.verify("{}", signature, pubcert, "choria=sre.choria", 0.0)
            self.assertEqual(found, "sre.choria")

    def test_caller_id_needs_its_form(self) -> None:
        """A caller id with text after the name is refused in the insecure mode, too."""
        error = self.assertRaises(
            DecodeError, InsecureVerifier().verify, "{}", "insecure", "insecure", "choria=a b", 0.0
        )
        self.assertEqual(error.reason, "bad_callerid")


class SignerTests(SynchronousTestCase):
    """Signing with a key."""

    def test_signs(self) -> None:
        """What is signed verifies, with the certificate that is sent along."""
        signer: Signer = SecureSigner(pair("sre.choria"))
        signature, pubcert = signer.sign(MESSAGE.encode())
        self.assertEqual(pubcert, vector("sre.choria"))
        self.assertEqual(verify(signature=signature, pubcert=pubcert), "sre.choria")

    def test_chain(self) -> None:
        """Intermediates are sent along."""
        signature, pubcert = SecureSigner(pair("chained.choria")).sign(MESSAGE.encode())
        found = verify(signature=signature, pubcert=pubcert, caller_id="choria=chained.choria")
        self.assertEqual(found, "chained.choria")

    def test_captured(self) -> None:
        """The signature is the very one that the Go client made: PKCS#1 v1.5 is fixed."""
        each = next(item for item in captured() if item.caller_id == "choria=sre.choria")
        self.assertTrue(each.ca.endswith("vectors/pki/ca.pem"))
        signature, _ = SecureSigner(pair("sre.choria")).sign(each.message.encode())
        self.assertEqual(signature, each.signature)


class KnownAnswerTests(SynchronousTestCase):
    """A request that Go signed, with throw-away keys, and what must not pass."""

    def verify(self, **changes: str) -> str:
        """Verify it, with changes."""
        given = {
            "message": KNOWN_MESSAGE,
            "signature": KNOWN_SIGNATURE,
            "pubcert": KNOWN_CERTIFICATE,
            "caller_id": "choria=sre.choria",
            "ca": KNOWN_CA,
            "allow": r"\.mcollective$,\.choria$",
            **changes,
        }
        verifier = SecureVerifier(
            Authorities.from_pem(given.pop("ca").encode()),
            AllowList(split_items(given.pop("allow")), setting="allow"),
            AllowList(DEFAULT_PRIVILEGED, setting="privileged"),
        )
        return verifier.verify(**given, now=1_700_000_000.0)

    def test_accepted(self) -> None:
        """As it stands."""
        digest = hashlib.sha256(KNOWN_MESSAGE.encode()).hexdigest()
        self.assertEqual(digest, KNOWN_SHA256)
        self.assertEqual(self.verify(), "sre.choria")

    def test_refused(self) -> None:
        """One byte changed; another name; another list; another authority."""
        for changes, reason in (
            ({"message": KNOWN_MESSAGE.replace("1700000000", "1700000001")}, "bad_signature"),
            ({"caller_id": "choria=other.choria"}, "name_mismatch"),
            ({"allow": r"\.mcollective$"}, "not_allowed"),
            ({"ca": vector("ca")}, "unknown_ca"),
        ):
            error = self.assertRaises(DecodeError, self.verify, **changes)
            self.assertEqual(error.reason, reason)


class VerifierTests(SynchronousTestCase):
    """The order of checks, and who may speak for whom."""

    def test_altered(self) -> None:
        """Each altered form of a good request is refused for its own reason."""
        good = SIGNED[1]
        middle = len(good) // 2
        changed = "A" if good[middle] != "A" else "B"
        other = vector("rip.mcollective")
        for changes, reason in (
            ({"message": MESSAGE.replace("ping", "pong")}, "bad_signature"),
            ({"message": MESSAGE + " "}, "bad_signature"),
            ({"message": MESSAGE + "\ud800"}, "bad_signature"),
            ({"signature": good[:middle] + changed + good[middle + 1 :]}, "bad_signature"),
            ({"signature": base64.b64encode(b"short").decode()}, "bad_signature"),
            ({"signature": ""}, "bad_signature"),
            ({"signature": good[:-1]}, "bad_base64"),
            ({"signature": good[:8] + " " + good[8:]}, "bad_base64"),
            ({"signature": good[:8] + "\u00fc\ud800" + good[8:]}, "bad_base64"),
            ({"pubcert": flipped(vector("sre.choria"), -20)}, "bad_certificate"),
            ({"pubcert": flipped(vector("sre.choria"), 20)}, "bad_certificate"),
            ({"pubcert": "insecure registration"}, "bad_certificate"),
            ({"pubcert": other}, "name_mismatch"),
            ({"pubcert": other, "caller_id": "choria=rip.mcollective"}, "bad_signature"),
            ({"pubcert": vector("defective/other-ca")}, "unknown_ca"),
            ({"pubcert": vector("defective/intermediate-missing")}, "unknown_ca"),
            ({"pubcert": vector("defective/expired")}, "certificate_expired"),
            ({"pubcert": vector("defective/not-yet-valid")}, "certificate_not_yet_valid"),
            ({"pubcert": vector("defective/server-auth-only")}, "wrong_purpose"),
            ({"pubcert": vector("defective/ec-p256")}, "unsupported_key"),
            ({"caller_id": "choria=1stline.choria"}, "name_mismatch"),
            ({"caller_id": "choria=SRE.choria"}, "name_mismatch"),
            ({"caller_id": "choria=sre.choria x"}, "bad_callerid"),
            ({"caller_id": "choria=sre.choria\n"}, "bad_callerid"),
            ({"caller_id": "sre.choria"}, "bad_callerid"),
            ({"signature": "insecure", "pubcert": "insecure"}, "insecure"),
            ({"signature": "insecure"}, "insecure"),
            ({"pubcert": "insecure"}, "insecure"),
            ({**signed_by("outsider.example.net")}, "not_allowed"),
        ):
            error = self.assertRaises(DecodeError, verify, None, **changes)
            self.assertEqual((error.reason, changes), (reason, changes))
        self.assertEqual(verify(), "sre.choria")

    def test_wrapped_signature(self) -> None:
        """Line ends in the signature do not matter: Ruby wraps."""
        good = SIGNED[1]
        self.assertEqual(verify(signature=good[:60] + "\r\n" + good[60:] + "\n"), "sre.choria")

    def test_common_name_or_dns_name(self) -> None:
        """Either may be the caller's."""
        for name in ("sre.choria", "other.choria"):
            changes = signed_by("defective/san-differs", name)
            self.assertEqual(verify(None, **changes), name)
        changes = signed_by("defective/san-differs", "third.choria")
        error = self.assertRaises(DecodeError, verify, None, **changes)
        self.assertEqual(error.reason, "name_mismatch")

    def test_delegation(self) -> None:
        """A privileged certificate speaks for anybody, and it is said who signed."""
        name = "admin.privileged.mcollective"
        for caller in ("sre.choria", "anybody.at.all", "outsider.example.net"):
            self.assertEqual(verify(None, **signed_by(name, caller)), name)
        self.assertEqual(verify(None, **signed_by(name)), name)
        changes = {**signed_by(name, "sre.choria"), "message": MESSAGE + " "}
        error = self.assertRaises(DecodeError, verify, None, **changes)
        self.assertEqual(error.reason, "bad_signature")

    def test_no_delegation(self) -> None:
        """Switched off, a privileged certificate speaks for its holder alone."""
        name = "admin.privileged.mcollective"
        verifier = make_verifier(delegation=False)
        self.assertEqual(verify(verifier, **signed_by(name)), name)
        error = self.assertRaises(DecodeError, verify, verifier, **signed_by(name, "sre.choria"))
        self.assertEqual(error.reason, "name_mismatch")
        verifier = make_verifier(delegation=False, allow=r"\.choria$")
        error = self.assertRaises(DecodeError, verify, verifier, **signed_by(name))
        self.assertEqual(error.reason, "not_allowed")

    def test_no_names(self) -> None:
        """A certificate without any name is nobody's."""
        root = Authority.make()
        changes = {"pubcert": pem(root.issue(""))}
        verifier = make_verifier(ca=root.pem)
        error = self.assertRaises(DecodeError, verify, verifier, **changes)
        self.assertEqual(error.reason, "name_mismatch")

    def test_cost(self) -> None:
        """Of a caller who was seen before, a request costs one RSA verification."""
        verifier = make_verifier()
        verified: list[bytes] = []
        verify_client = verifier.authorities.verify_client

        def counting(pubcert: str, now: float) -> VerifiedCertificate:
            found = verify_client(pubcert, now)
            key = cast(rsa.RSAPublicKey, CountingKey(found.public_key, verified))
            return attrs.evolve(found, public_key=key)

        self.patch(verifier.authorities, "verify_client", counting)
        for _ in range(20):
            self.assertEqual(verify(verifier), "sre.choria")
        self.assertEqual(verified, [MESSAGE.encode()] * 20)
        self.assertEqual(verifier.authorities.chains_built, 1)

    def test_replaced_authorities(self) -> None:
        """Once the authorities are replaced, the old ones' callers are strangers."""
        verifier = make_verifier()
        verify(verifier)
        verifier.authorities = Authorities.from_pem(vector("other-ca").encode())
        error = self.assertRaises(DecodeError, verify, verifier)
        self.assertEqual(error.reason, "unknown_ca")
        changes = signed_by("defective/other-ca", "sre.choria")
        self.assertEqual(verify(verifier, **changes), "sre.choria")

    @given(
        st.text(max_size=60) | st.sampled_from([MESSAGE]),
        st.text(max_size=60)
        | st.binary(max_size=300).map(lambda raw: base64.b64encode(raw).decode()),
        st.text(max_size=60) | st.sampled_from(["defective/ec-p256", "sre.choria"]).map(vector),
        st.sampled_from(["choria=sre.choria"]) | st.text(max_size=20),
    )
    def test_garbage(self, message: str, signature: str, pubcert: str, caller_id: str) -> None:
        """Nothing passes, and nothing but the documented error is raised."""
        self.assertRaises(
            DecodeError,
            verify,
            GARBAGE,
            message=message,
            signature=signature,
            pubcert=pubcert,
            caller_id=caller_id,
        )


class CountingKey:
    """A public key that notes what it verifies."""

    def __init__(self, key: rsa.RSAPublicKey, verified: list[bytes]) -> None:
        self._key = key
        self._verified = verified

    def verify(
        self, signature: bytes, data: bytes, scheme: padding.PKCS1v15, digest: hashes.SHA256
    ) -> None:
        self._verified.append(data)
        self._key.verify(signature, data, scheme, digest)
