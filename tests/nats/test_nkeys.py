"""Keys of NATS: how they are written, what is refused, and that seeds stay hidden."""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.errors import BadCredentials
from backplane.nats.nkeys import (
    KeyPair,
    Owner,
    decode_public,
    decode_seed,
    encode_public,
    encode_seed,
)

RAW = st.binary(min_size=32, max_size=32)
OWNERS = st.sampled_from(list(Owner))

GO = {
    Owner.USER: (
        "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y",
        "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK",
    ),
    Owner.ACCOUNT: (
        "SAAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYMHI",
        "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QPZV",
    ),
    Owner.OPERATOR: (
        "SOAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2AJA",
        "OAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QZVT",
    ),
    Owner.SERVER: (
        "SNAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2D5U",
        "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB",
    ),
    Owner.CLUSTER: (
        "SCAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYO7Q",
        "CAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3R53J",
    ),
}
"""Seed and public key of the bytes 0 to 31, as NATS's own Go library writes them."""


def written(prefix: bytes, raw: bytes) -> str:
    """Write a key by the book, with any prefix."""
    data = prefix + raw
    data += binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data).decode().rstrip("=")


class KeyTests(SynchronousTestCase):
    """The text form."""

    @given(OWNERS, RAW)
    def test_round_trip(self, owner: Owner, raw: bytes) -> None:
        """What is written is read again; the first letters say whose it is."""
        public, seed = encode_public(owner, raw), encode_seed(owner, raw)
        self.assertEqual(decode_public(public), (owner, raw))
        self.assertEqual(decode_seed(seed), (owner, raw))
        self.assertEqual(public[0], owner.letter)
        self.assertEqual(seed[:2], f"S{owner.letter}")
        self.assertEqual((len(public), len(seed)), (56, 58))

    def test_go(self) -> None:
        """NATS's own library writes the same."""
        raw = bytes(range(32))
        for owner, (seed, public) in GO.items():
            self.assertEqual(encode_seed(owner, raw), seed)
            self.assertEqual(KeyPair.from_seed(seed).public, public)

    def test_letters(self) -> None:
        """They are those that everybody knows."""
        found = {owner.name: owner.letter for owner in Owner}
        self.assertEqual(
            found, {"ACCOUNT": "A", "CLUSTER": "C", "SERVER": "N", "OPERATOR": "O", "USER": "U"}
        )

    @given(RAW, st.binary(max_size=100))
    def test_signature(self, raw: bytes, data: bytes) -> None:
        """A pair signs what its public key verifies."""
        keys = KeyPair.from_seed(encode_seed(Owner.USER, raw))
        public = decode_public(keys.public)[1]
        self.assertIs(keys.owner, Owner.USER)
        Ed25519PublicKey.from_public_bytes(public).verify(keys.sign(data), data)
        private = Ed25519PrivateKey.from_private_bytes(raw)
        self.assertEqual(private.public_key().public_bytes_raw(), public)

    @given(OWNERS, RAW, st.integers(0, 57), st.characters(codec="utf-8"))
    def test_one_letter(self, owner: Owner, raw: bytes, at: int, letter: str) -> None:
        """Any other letter at any place is noticed, and the seed is not in the error."""
        seed = encode_seed(owner, raw)
        wrong = seed[:at] + letter + seed[at + 1 :]
        if wrong != seed:
            error = self.assertRaises(BadCredentials, decode_seed, wrong)
            self.assertNotIn(seed[8:20], str(error))
        public = encode_public(owner, raw)
        at = min(at, 55)
        wrong = public[:at] + letter + public[at + 1 :]
        if wrong != public:
            self.assertRaises(BadCredentials, decode_public, wrong)

    @given(st.text(max_size=70) | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=", max_size=70))
    def test_anything(self, text: str) -> None:
        """What is no key is refused in one way only."""
        for decode in (decode_public, decode_seed, KeyPair.from_seed):
            self.assertRaises(BadCredentials, decode, text)

    def test_kinds(self) -> None:
        """A key with a good check sum may still be of no known kind, or no seed."""
        raw = bytes(32)
        for text, words in (
            (written(bytes([0x90, 8]), raw), "unknown kind"),
            (written(bytes([0x90 | 5, 1]), raw), "no seed"),
            (written(bytes([0x50, 0]), raw), "no seed"),
        ):
            self.assertIn(words, str(self.assertRaises(BadCredentials, decode_seed, text)))
        text = written(bytes([7]), raw)
        self.assertIn("unknown kind", str(self.assertRaises(BadCredentials, decode_public, text)))
        public, seed = encode_public(Owner.USER, raw), encode_seed(Owner.USER, raw)
        self.assertRaises(BadCredentials, decode_seed, public)
        self.assertRaises(BadCredentials, decode_public, seed)
        for wrong in (raw[:-1], raw + b"x"):
            self.assertRaises(ValueError, encode_seed, Owner.USER, wrong)
            self.assertRaises(ValueError, encode_public, Owner.USER, wrong)

    def test_hidden(self) -> None:
        """A pair does not show its seed."""
        seed = encode_seed(Owner.USER, bytes(range(32)))
        keys = KeyPair.from_seed(seed)
        self.assertNotIn(seed, repr(keys))
        self.assertNotIn("rivate", repr(keys))
        self.assertIn(keys.public, repr(keys))
