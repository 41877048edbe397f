"""Files with credentials, and the ways of logging in that are made of them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.credentials import (
    ChoriaJWT,
    Credentials,
    CredsFile,
    JWTFile,
    NKey,
    SeedFile,
    TextFile,
    Token,
    UserJWT,
    UserPassword,
)
from backplane.nats.creds import MAX_FILE, Claims, read_claims, read_jwt, read_seed
from backplane.nats.errors import BadCredentials, ConnectionFailed
from backplane.nats.login import Login
from backplane.nats.nkeys import KeyPair, Owner, decode_public, encode_seed
from backplane.nats.servers import parse_server
from tests.nats.checklist.jwts import ACCOUNT, USER, creds, jwt, public_of, user_jwt

INFO = {"nonce": "kBn3wN0nce_-4Qx"}

BROKEN = encode_seed(Owner.USER, bytes(range(32)))[:-1] + "A"

OTHER = encode_seed(Owner.USER, bytes(range(1, 33)))


class ReadTests(SynchronousTestCase):
    """The grammar of the files."""

    def refused(self, read: Callable[[bytes], object], data: bytes, *words: str) -> None:
        error = self.assertRaises(BadCredentials, read, data)
        for word in words:
            self.assertIn(word, str(error))

    def test_forms(self) -> None:
        """LF and CR LF, blanks around, other words and more dashes in the fences, without them."""
        token = user_jwt()
        both = creds(token, USER)
        forms = [
            both,
            both.replace("\n", "\r\n"),
            both.replace("\n", "  \n\n"),
            both.replace("-----BEGIN", "---begin").replace("NATS USER JWT---", "it ---------"),
            "\ufeff" + both,
            both.rstrip("\n"),
            "# a comment\n" + both,
        ]
        for form in forms:
            data = form.encode()
            self.assertEqual((read_jwt(data), read_seed(data)), (token, USER), form)
        self.assertEqual(read_jwt(f"\n{token}\r\n".encode()), token)
        for form in (f"{USER}\n", f" {USER}\r\n\r\n", f"# mine\n{USER}"):
            self.assertEqual(read_seed(form.encode()), USER)
        seed_only = f"-----BEGIN USER NKEY SEED-----\n{USER}\n------END USER NKEY SEED------\n"
        self.assertEqual(read_seed(seed_only.encode()), USER)

    def test_refused(self) -> None:
        """What is wrong is named, what is secret is not."""
        token = user_jwt()
        self.refused(read_jwt, b"", "an empty file")
        self.refused(read_jwt, USER.encode(), "a seed", "the JWT")
        self.refused(read_jwt, b"hello", "no JWT")
        self.refused(read_jwt, f"{token}\n{token}".encode(), "2 lines")
        self.refused(read_jwt, f"-----BEGIN X-----\n{token}".encode(), "one line between two")
        halves = f"-----BEGIN X-----\n{token[:40]}\n{token[40:]}\n-----END X-----\n"
        self.refused(read_jwt, halves.encode(), "one line between two")
        self.refused(read_jwt, b"\xff\xfe", "no text")
        self.refused(read_jwt, b"x" * (MAX_FILE + 1), "more than")
        self.refused(read_seed, b"", "an empty file")
        self.refused(read_seed, token.encode(), "a file without one")
        error = self.assertRaises(BadCredentials, read_jwt, USER.encode())
        self.assertNotIn(USER[4:20], str(error))

    def test_claims(self) -> None:
        """What is in a JWT, and what is in none of a user."""
        token = user_jwt(name="shop1", exp=1795570848)
        self.assertEqual(
            read_claims(token),
            Claims("shop1", public_of(USER), public_of(ACCOUNT), 1795570848.0),
        )
        self.assertIsNone(read_claims(user_jwt(exp=0)).expires)
        self.assertTrue(read_claims(user_jwt(nats={"bearer_token": True})).bearer)
        head, body, signature = token.split(".")

        def with_body(document: object) -> str:
            text = base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
            return f"{head}.{text}.{signature}"

        for wrong, words in (
            ("a.b", "no JWT"),
            (f"{body}.{body}.{signature}", "signatures that NATS does not know"),
            (f"{head}.!!!!.{signature}", "cannot be read"),
            (f"{head}.{'W1tb' * 20000}.{signature}", "cannot be read"),
            (with_body([]), "cannot be read"),
            (with_body({}), "without subject"),
            (with_body({"sub": "U123"}), "subject is no key"),
            (with_body({"sub": public_of(ACCOUNT)}), "no user but account"),
            (with_body({"sub": public_of(USER), "exp": "soon"}), "exp is no time"),
            (with_body({"sub": public_of(USER), "exp": True}), "exp is no time"),
            (with_body({"sub": public_of(USER), "exp": 1e300}), "exp is no time"),
        ):
            error = self.assertRaises(BadCredentials, read_claims, wrong)
            self.assertIn(words, str(error))

    @given(st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        """Nothing else than a text or the one error comes out."""
        for read in (read_jwt, read_seed, lambda each: read_claims(each.decode("latin-1"))):
            try:
                read(data)
            except BadCredentials as error:
                self.assertIsInstance(str(error), str)

    @given(
        st.lists(
            st.sampled_from(["---", "-----BEGIN-----", "------END------", "a.b.c", USER, "", "x"]),
            max_size=12,
        ),
        st.sampled_from(["\n", "\r\n", "\n\n"]),
    )
    def test_any_lines(self, lines: list[str], end: str) -> None:
        """A text that is found stands in the file, alone on its line."""
        data = end.join(lines).encode()
        for read in (read_jwt, read_seed):
            try:
                found = read(data)
            except BadCredentials:
                continue
            self.assertIn(found, lines)

    @given(st.text(max_size=60))
    def test_any_claims(self, text: str) -> None:
        """Claims are what they are, or refused."""
        for key in ("sub", "exp", "nats", "name", "iss"):
            token = jwt(ACCOUNT, {"sub": public_of(USER), key: text})
            try:
                found = read_claims(token)
            except BadCredentials:
                continue
            self.assertEqual(found.subject, public_of(USER))


class WaysTests(SynchronousTestCase):
    """What goes into CONNECT."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.makedirs(self.folder)

    def file(self, text: str | bytes, name: str = "file") -> str:
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        return path

    def refused(self, way: Credentials, *words: str, check: bool = True) -> str:
        """Both before the start and at a connect, by default."""
        errors = [self.assertRaises(BadCredentials, way.fields, INFO)]
        if check:
            errors.append(self.assertRaises(BadCredentials, way.check))
        for error in errors:
            for word in words:
                self.assertIn(word, str(error))
        return str(errors[0])

    def assert_signed(self, fields: Any, nonce: str = INFO["nonce"]) -> None:
        """The signature is base64url without padding, and that of the user."""
        self.assertNotIn("=", fields["sig"])
        signature = base64.urlsafe_b64decode(fields["sig"] + "==")
        key = Ed25519PublicKey.from_public_bytes(decode_public(public_of(USER))[1])
        key.verify(signature, nonce.encode())

    def test_password(self) -> None:
        """Texts, callables, files; each connect asks again."""
        path = self.file("s3cret\n")
        way = UserPassword("u", TextFile(path))
        way.check()
        self.assertEqual(way.fields({}), {"user": "u", "pass": "s3cret"})
        self.file("other")
        self.assertEqual(way.fields({}), {"user": "u", "pass": "other"})
        self.assertEqual(UserPassword("u", "").fields({}), {"user": "u", "pass": ""})
        UserPassword("u", "").check()
        tokens = iter(["t1", "t2"])
        token = Token(lambda: next(tokens))
        token.check()
        found = [token.fields({})["auth_token"] for _ in range(2)]
        self.assertEqual(found, ["t1", "t2"])

    def test_text_files(self) -> None:
        """One line, in UTF-8; blanks belong to it. Nothing stays open."""
        first = os.dup(1)
        os.close(first)
        for content, found in ((b" a b \r\n", " a b "), ("\ufeffgrün\n".encode(), "grün")):
            self.assertEqual(TextFile(self.file(content))(), found)
        for content, words in (
            (b"", "no lines"),
            (b"\n", "no lines"),
            (b"a\nb\n", "2 lines"),
            (b"\xff", "not UTF-8"),
            (b"x" * (MAX_FILE + 1), "more than"),
        ):
            self.refused(Token(TextFile(self.file(content))), words, "file")
        self.refused(Token(TextFile(os.path.join(self.folder, "none"))), "No such file", "none")
        self.refused(Token(TextFile(self.folder)), self.folder)
        self.refused(Token(TextFile("a\0b")), "a path that cannot be")
        for _ in range(10):
            self.assertRaises(BadCredentials, TextFile(self.folder))
        free = os.dup(1)
        os.close(free)
        self.assertLess(free, first + 10)
        fifo = os.path.join(self.folder, "fifo")
        os.mkfifo(fifo)
        self.refused(Token(TextFile(fifo)), "something else than a file")

    def test_callables(self) -> None:
        """What they raise or return instead is told by its kind only."""

        def fails() -> str:
            raise RuntimeError("s3cret")

        def number() -> Any:
            return 7

        self.assertNotIn("s3cret", self.refused(Token(fails), "RuntimeError", check=False))
        self.refused(Token(number), "type int", check=False)
        self.refused(Token(lambda: ""), "nothing", check=False)

    def test_nkey(self) -> None:
        """A seed in a text, with a newline, in a file; what is none."""
        for seed in (USER, f"{USER}\n", SeedFile(self.file(f"{USER}\n"))):
            way = NKey(seed)
            way.check()
            fields = way.fields(INFO)
            self.assertEqual(fields["nkey"], public_of(USER))
            self.assertEqual(set(fields), {"nkey", "sig"})
            self.assert_signed(fields)
        self.assertIn("check sum", str(self.assertRaises(BadCredentials, NKey, BROKEN)))
        self.assertIn("of an account", str(self.assertRaises(BadCredentials, NKey, ACCOUNT)))
        self.refused(NKey(SeedFile(self.file(f"{BROKEN}\n"))), "check sum", "file: ")
        error = self.assertRaises(BadCredentials, NKey(USER).fields, {})
        self.assertIn("a server that does not support nkeys", str(error))
        for nonce in ("n" * 257, 7, "é", ["n"]):
            self.assertRaises(BadCredentials, NKey(USER).fields, {"nonce": nonce})

    def test_creds_file(self) -> None:
        """JWT and seed of one file, read again each time."""
        token = user_jwt()
        way = CredsFile(self.file(creds(token, USER)))
        way.check()
        fields = way.fields(INFO)
        self.assertEqual(fields["jwt"], token)
        self.assert_signed(fields)
        self.assertEqual(way.fields({}), {"jwt": token})
        renewed = user_jwt(name="renewed")
        self.file(creds(renewed, USER))
        self.assertEqual(way.fields(INFO)["jwt"], renewed)
        self.file(creds(token, OTHER))
        self.refused(way, public_of(OTHER), public_of(USER), way.path)
        self.file(token)
        self.refused(way, "a file without one", "a seed")
        self.file(creds(token, BROKEN))
        self.refused(way, "check sum")
        bearer = user_jwt(nats={"bearer_token": True})
        self.file(bearer)
        self.assertEqual(way.fields(INFO), {"jwt": bearer})
        self.refused(CredsFile("none.creds"), "none.creds", "No such file")

    def test_user_jwt(self) -> None:
        """Two files, callables, and a signer of one's own."""
        token = user_jwt()
        files = UserJWT(JWTFile(self.file(token, "jwt")), SeedFile(self.file(USER, "seed")))
        pair = KeyPair.from_seed(USER)
        ways = [
            files,
            UserJWT(token, USER),
            UserJWT(lambda: token, lambda: USER),
            UserJWT(lambda: token, sign=pair.sign),
        ]
        for way in ways:
            way.check()
            fields = way.fields(INFO)
            self.assertEqual(fields["jwt"], token)
            self.assert_signed(fields)
        self.assertRaises(BadCredentials, UserJWT, token)
        self.assertRaises(BadCredentials, UserJWT, token, OTHER)
        self.assertRaises(BadCredentials, UserJWT(lambda: token, BROKEN).check)
        self.assertRaises(BadCredentials, UserJWT, token, USER, pair.sign)

        def fails(nonce: bytes) -> bytes:
            raise OSError("s3cret")

        said = self.refused(UserJWT(token, sign=fails), "OSError when signing", check=False)
        self.assertNotIn("s3cret", said)

    def test_choria(self) -> None:
        """Choria's JWT is a token too; its seed is written in another way."""
        private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        way = ChoriaJWT("a.b.c\n", TextFile(self.file(bytes(range(32)).hex())))
        way.check()
        fields = way.fields(INFO)
        self.assertEqual((fields["jwt"], fields["auth_token"]), ("a.b.c", "a.b.c"))
        signature = base64.urlsafe_b64decode(fields["sig"] + "==")
        private.public_key().verify(signature, INFO["nonce"].encode())
        self.refused(ChoriaJWT("a.b.c", "zz" * 32), "64 hexadecimal digits")

    def test_hidden(self) -> None:
        """No repr has a secret."""
        for way in (
            UserPassword("u5er", "s3cret"),
            Token("s3cret"),
            NKey(USER),
            UserJWT(lambda: "s3cret", USER),
            ChoriaJWT("s3cret", "s3cret"),
            Login(credentials=Token("s3cret")),
            Login(user="u5er", password="s3cret"),
            Login(token="s3cret"),
        ):
            for secret in ("s3cret", "u5er", USER):
                self.assertNotIn(secret, repr(way))
        self.assertIn("a.creds", repr(CredsFile("a.creds")))
        self.assertEqual(repr(SeedFile("a.nk")), "SeedFile('a.nk')")


class LoginTests(SynchronousTestCase):
    """Which of them is used."""

    def fields(self, login: Login, url: str = "nats://b:1") -> dict[str, Any]:
        found = login.fields(INFO, parse_server(url), False)
        names = ("user", "pass", "auth_token", "jwt", "nkey", "sig")
        return {name: found[name] for name in names if name in found}

    def test_priority(self) -> None:
        """What is given wins over what is in the address."""
        self.assertEqual(self.fields(Login()), {})
        self.assertEqual(self.fields(Login(), "a:b%40c@h"), {"user": "a", "pass": "b@c"})
        self.assertEqual(self.fields(Login(), "t0@h"), {"auth_token": "t0"})
        login = Login(credentials=Token("t1"))
        self.assertEqual(self.fields(login, "a:b@h"), {"auth_token": "t1"})
        self.assertEqual(self.fields(Login(user="u"), "t0@h"), {"user": "u", "pass": ""})

    def test_several(self) -> None:
        """Several ways at once are a mistake."""
        for options in (
            {"user": "u", "token": "t"},
            {"user": "u", "credentials": Token("t")},
            {"token": "t", "credentials": Token("t")},
        ):
            error = self.assertRaises(BadCredentials, Login, **options)
            self.assertIn(" and ", str(error))

    def test_failures(self) -> None:
        """What cannot be used ends a try, not the client; a stranger's words are not shown."""

        class Strange:
            def fields(self, info: object) -> dict[str, str]:
                raise LookupError("s3cret")

            def check(self) -> None:
                """Never."""

        for way, words in ((NKey(lambda: BROKEN), "check sum"), (Strange(), "LookupError")):
            error = self.assertRaises(ConnectionFailed, self.fields, Login(credentials=way))
            self.assertEqual((error.phase, error.server), ("login", "b:1"))
            self.assertIn(words, str(error))
            self.assertNotIn("s3cret", str(error))

    def test_fields(self) -> None:
        """The rest of CONNECT."""
        found = Login(echo=False, pedantic=True).fields({}, parse_server("b"), False)
        self.assertEqual((found["echo"], found["pedantic"], found["verbose"]), (False, True, False))
