"""``backplane enroll`` when something is wrong: here, there, or with who answers."""

from __future__ import annotations

import os
import stat
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from backplane.client.accounting import ExitCode
from backplane.client.enrolment import EnrolmentError
from backplane.client.puppetca import MAX_BODY, AuthorityError, PuppetAuthority, read_address
from backplane.client.weblink import MAX_HEAD
from backplane.security.csr import make_request, new_key, private_pem
from backplane.security.issued import fingerprint_of
from backplane.testing.minting import key_pem, make_ec_key, make_rsa_key
from tests.cli.enrolling import NAME, EnrolCase, reactor
from tests.cli.fakeca import FakeCA, make_authority

OURS = f"certificate/{NAME}"
REQUEST = f"certificate_request/{NAME}"
CLEAN = f"on the CA: puppetserver ca clean --certname {NAME}; then run this again"
DAY = 86_400.0


class Silent(Protocol):
    """Takes connections, and says nothing, or nothing that is TLS."""

    said = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self.said:
            self.transport.write(self.said)


class RefusedTests(EnrolCase):
    """The authority says no, or has what cannot be used."""

    async def test_not_taken(self) -> None:
        """400 and 403: its words, and what may help."""
        self.ca.answers["PUT", "certificate_request"] = (400, b"CSR contains\nnonsense")
        line = await self.refusal(ExitCode.FAILED)
        self.assertEqual(
            line,
            f"backplane: error: {self.url}/{REQUEST}: 400 Bad Request: CSR contains nonsense; "
            f"if it has one of that name, {CLEAN}",
        )
        self.assertFalse(self.there(self.files.request))
        self.ca.answers["PUT", "certificate_request"] = (403, b"Forbidden request")
        self.assertIn("403 Forbidden: Forbidden request", await self.refusal(ExitCode.FAILED))

    async def test_not_taken_nor_shown(self) -> None:
        """Where requests are not shown either, one that was never taken is not waited for."""
        self.ca.answers["GET", "certificate_request"] = (403, b"Forbidden")
        self.ca.answers["PUT", "certificate_request"] = (400, b"nonsense")
        for _ in range(2):
            self.assertIn("400 Bad Request: nonsense", await self.refusal(ExitCode.FAILED))

    async def test_forbidden(self) -> None:
        """403 while it waits ends it; nobody will sign what may not be fetched."""
        self.ca.store(self.folder)
        self.ca.answers["GET", "certificate"] = (403, b"Forbidden")
        line = await self.refusal(ExitCode.FAILED)
        self.assertIn(f"{self.url}/{OURS}: 403 Forbidden", line)

    async def test_no_authority(self) -> None:
        """A server that is no authority; one of another kind; one that sends elsewhere."""
        self.ca.answers["GET", "certificate"] = (404, b"Not Found")
        self.assertIn("there is no authority here", await self.refusal(ExitCode.FAILED))
        self.ca.answers["GET", "certificate"] = (302, b"")
        self.assertIn("certificate/ca: 302 Found", await self.refusal(ExitCode.FAILED))
        self.ca.answers["GET", "certificate"] = (200, b"<html>welcome</html>")
        line = await self.refusal(ExitCode.FAILED)
        self.assertIn(f"{self.url}/certificate/ca: found no certificate, wanted", line)
        self.assertFalse(self.folder.exists())

    async def test_request_of_another_key(self) -> None:
        """A request by another key waits there: it is not ours to wait for."""
        self.ca.requests[NAME] = make_request(new_key(), NAME).pem
        line = await self.refusal(ExitCode.FAILED)
        self.assertIn(f"{self.url}/{REQUEST}: a request by another key waits there; {CLEAN}", line)
        self.ca.requests[NAME] = b"<html>"
        self.assertIn("0 certificate requests", await self.refusal(ExitCode.FAILED))

    async def test_certificate_of_another_key(self) -> None:
        """The name is taken: whose it is, and what to do."""
        self.ca.certificates[NAME] = self.ca.issue(make_rsa_key(), NAME)
        line = await self.refusal(ExitCode.FAILED)
        self.assertEqual(
            line,
            f"backplane: error: {self.url}/{OURS}: certificate 'CN={NAME}' is for another key "
            f"than {self.files.key}; {CLEAN}",
        )
        self.assertFalse(self.there(self.files.cert))
        self.assertFalse([each for each in self.ca.seen if each.startswith("PUT")])

    async def test_bad_certificates(self) -> None:
        """Whatever is wrong with what it has signed is told, and not stored."""
        self.files.make()
        key = new_key()
        self.files.write_key(private_pem(key))
        now = reactor.seconds()
        other = make_authority("Other CA")
        for changes, issuer, words in (
            ({"name": "eve.mcollective"}, None, f"is for 'eve.mcollective', not for {NAME!r}"),
            ({"end": now - 60}, None, "expired"),
            ({"begin": now + DAY}, None, "not yet valid"),
            ({"purposes": ()}, other, "unable to get"),
        ):
            self.ca.changes = dict(changes)
            self.ca.certificates[NAME] = self.ca.issue(key, NAME, issuer)
            line = await self.refusal(ExitCode.FAILED)
            self.assertIn(f"{self.url}/{OURS}: the certificate cannot be used: ", line)
            self.assertIn(words, line)
            self.assertFalse(self.there(self.files.cert))

    async def test_revoked(self) -> None:
        """A certificate on the authority's own list is not stored."""
        self.ca.autosign = True
        enrolled = await self.enrol()
        self.ca.lists = self.ca.list_of(self.ca.signer, enrolled.certificate)
        os.unlink(self.files.cert)
        self.assertIn("revoked since", await self.refusal(ExitCode.FAILED))
        self.put(self.files.cert, self.ca.certificates[NAME])
        self.assertIn("revoked since", await self.refusal(ExitCode.CREDENTIALS))

    async def test_garbage(self) -> None:
        """Certificates and lists that are none."""
        for garbage in (b"", b"\x00\xff" * 90, b"-----BEGIN CERTIFICATE-----\nAAAA\n"):
            self.ca.certificates[NAME] = garbage or b" "
            self.assertIn(CLEAN, await self.refusal(ExitCode.FAILED))
        self.ca.lists = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
        self.assertIn("list 1, which is damaged", await self.refusal(ExitCode.FAILED))


class WhoAnswersTests(EnrolCase):
    """Nobody, somebody else, or somebody who wants us no good."""

    async def test_down(self) -> None:
        """Nobody listens: exit code 69, and nothing is made."""
        line = await self.refusal(ExitCode.UNREACHABLE, ca="localhost:1")
        self.assertEqual(
            line,
            "backplane: error: https://localhost:1/puppet-ca/v1/certificate/ca: Connection "
            "refused; give the CA with --ca HOST[:PORT]",
        )
        self.assertFalse(self.folder.exists())

    async def test_wrong_fingerprint(self) -> None:
        """Another authority than was asked for: exit code 5; it learns nothing, nothing is made."""
        line = await self.refusal(ExitCode.STOPPED, pin="ab" * 32)
        self.assertIn(f"{self.url}/certificate/ca: this is not the CA that was asked for", line)
        self.assertIn("AB:AB, which was given; nothing was sent", line)
        self.assertEqual(self.ca.seen, ["GET certificate/ca"])
        self.assertFalse(self.folder.exists())

    async def test_wrong_fingerprint_of_file(self) -> None:
        """The one that is stored is held to it as well."""
        self.ca.store(self.folder)
        line = await self.refusal(ExitCode.STOPPED, pin="ab" * 32)
        self.assertIn(f"{self.files.ca}: its SHA-256 fingerprint is ", line)
        self.assertIn("move the file away", line)
        self.assertEqual(self.ca.seen, [])

    async def test_between(self) -> None:
        """Somebody between hands out the right authority; its server cannot prove to be of it."""
        real = FakeCA()
        self.ca.answers["GET", "certificate"] = (200, real.bundle)
        pin = fingerprint_of(real.root.certificate)
        line = await self.refusal(ExitCode.UNREACHABLE, pin=pin)
        self.assertIn("the server's certificate", line)
        self.assertIn("its authority is not in the CA file", line)
        self.assertEqual(self.ca.seen, ["GET certificate/ca"])
        self.assertFalse(self.folder.exists())

    async def test_changed(self) -> None:
        """The stored authority is not the server's: whose file is in the way."""
        FakeCA().store(self.folder)
        line = await self.refusal(ExitCode.UNREACHABLE)
        self.assertIn(f"if the CA has changed, move {self.files.ca} away", line)
        self.assertEqual(self.ca.seen, [])

    async def test_wrong_name(self) -> None:
        """Its certificate is for another host."""
        self.ca.names = ("puppet.example.net",)
        self.listen()
        line = await self.refusal(ExitCode.UNREACHABLE)
        self.assertIn("certificate is for puppet.example.net, not for localhost", line)
        self.assertIn("and --ca its name?", line)
        self.assertEqual(self.ca.seen, ["GET certificate/ca"])

    async def test_address_without_name(self) -> None:
        """A server that is given as address is never compared by its CN."""
        self.ca.names = ()
        self.listen()
        line = await self.refusal(ExitCode.UNREACHABLE, host="127.0.0.1")
        self.assertIn("no subjectAltName", line)

    def strangers(self, said: bytes) -> int:
        """Listen with what is no authority; return the port."""
        factory = Factory.forProtocol(Silent)
        factory.protocol.said = said  # type: ignore[union-attr]
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port
        return port

    async def test_no_tls(self) -> None:
        """A server that does not speak TLS."""
        port = self.strangers(b"220 mail.example.net ESMTP\r\n")
        line = await self.refusal(ExitCode.UNREACHABLE, ca=f"127.0.0.1:{port}")
        self.assertIn("the server does not speak TLS", line)

    async def test_silent(self) -> None:
        """One that takes the connection and says nothing: there is an end, on the clock."""
        port = self.strangers(b"")
        authority = PuppetAuthority(reactor, "127.0.0.1", port, clock=self.clock, timeout=30.0)
        asking = Deferred.fromCoroutine(authority.bundle())
        self.clock.advance(29.0)
        self.assertNoResult(asking)
        self.clock.advance(1.0)
        error = await self.assertFailure(asking, AuthorityError)
        self.assertTrue(str(error).endswith("/certificate/ca: no answer within 30 s"))

    async def test_slow(self) -> None:
        """One that takes the question and does not answer."""
        self.ca.answers["GET", "certificate_revocation_list"] = None
        working = self.enrol()
        await self.ca.asked
        self.clock.advance(30.0)
        error: Any = await self.assertFailure(working, EnrolmentError)
        self.assertEqual(error.code, ExitCode.UNREACHABLE)
        self.assertIn("no answer within 30 s", error.text)
        self.assertFalse(self.clock.getDelayedCalls())

    async def test_huge(self) -> None:
        """A body without end is cut, whatever it is an answer to."""
        for kind in ("certificate", "certificate_request"):
            self.ca.answers.clear()
            self.ca.answers["GET", kind] = (200, b"x" * (MAX_BODY + MAX_HEAD + 100_000))
            line = await self.refusal(ExitCode.UNREACHABLE)
            self.assertIn(f"the server sends more than {MAX_BODY} bytes", line)

    async def test_headers(self) -> None:
        """Nor are headers without end read to it."""
        self.ca.headers = 20_000
        line = await self.refusal(ExitCode.UNREACHABLE)
        self.assertIn(f"the server sends more than {MAX_BODY} bytes", line)


class HereTests(EnrolCase):
    """What is there already is in the way."""

    async def test_bad_keys(self) -> None:
        """Keys that cannot be used: exit code 77; none is written over."""
        self.files.make()
        for data, words in (
            (b"", "no private key"),
            (key_pem(make_ec_key()), "EC key"),
            (key_pem(make_rsa_key(), b"secret"), "passphrase"),
        ):
            self.put(self.files.key, data)
            line = await self.refusal(ExitCode.CREDENTIALS)
            self.assertIn(f"{self.files.key}: found ", line)
            self.assertIn(words, line)
            self.assertEqual(self.content(self.files.key), data)
        self.put(self.files.key, private_pem(rsa.generate_private_key(65537, 1024)))
        line = await self.refusal(ExitCode.CREDENTIALS)
        self.assertIn(f"{self.files.key}: a key of 1024 bits, wanted 2048 at least", line)
        self.assertFalse([each for each in self.ca.seen if each.startswith("PUT")])

    async def test_bad_certificate(self) -> None:
        """A certificate whose key is another, or is not there, or that is none."""
        self.ca.autosign = True
        await self.enrol()
        for path, data, words in (
            (self.files.key, private_pem(new_key()), "the key of another certificate"),
            (self.files.cert, b"junk", "no certificate"),
        ):
            before = self.content(path)
            self.put(path, data)
            line = await self.refusal(ExitCode.CREDENTIALS)
            self.assertIn(words, line)
            self.assertIn(f"move {self.files.cert} away and run this again", line)
            self.put(path, before)
        os.unlink(self.files.key)
        self.assertIn("No such file", await self.refusal(ExitCode.CREDENTIALS))

    async def test_cannot_write(self) -> None:
        """A file where the directory should be."""
        self.folder.parent.mkdir(parents=True)
        self.folder.write_bytes(b"")
        line = await self.refusal(ExitCode.CREDENTIALS)
        self.assertIn(f"{self.folder}: found no directory, wanted a directory", line)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode) & 0o111, 0)

    async def test_usage(self) -> None:
        """Names and hosts that cannot be: exit code 64, nothing is asked."""
        for wrong, words in (
            ({"certname": "Bob"}, "--certname bob"),
            ({"certname": "../x"}, "only ASCII"),
            ({"ca": "ht tp"}, "not a host"),
            ({"ca": "https://puppet"}, "not a host"),
            ({"config": "/nowhere/client.cfg"}, "/nowhere/client.cfg"),
        ):
            values: dict[str, Any] = {**wrong}
            self.assertIn(words, await self.refusal(ExitCode.USAGE, **values))
        self.assertEqual(self.ca.seen, [])


class AddressTests(SynchronousTestCase):
    """``HOST[:PORT]``."""

    def test_forms(self) -> None:
        for text, address in (
            ("puppet", ("puppet", 8140)),
            ("puppet.example.net:8141", ("puppet.example.net", 8141)),
            ("10.1.2.3", ("10.1.2.3", 8140)),
            ("[::1]", ("::1", 8140)),
            ("[fe80::1]:1", ("fe80::1", 1)),
        ):
            self.assertEqual(read_address(text), address)
        for text in ("", ":1", "a:", "a:x", "a:0", "a:65536", "::1", "[a]", "[::1]x", "a/b", "a@b"):
            with self.assertRaises(ValueError):
                read_address(text)

    @given(st.text(alphabet="a1.:[]-/ \n%é", max_size=12))
    def test_any(self, text: str) -> None:
        """Any text is an address that a URL can have, or a ValueError."""
        try:
            host, port = read_address(text)
        except ValueError:
            return
        self.assertTrue(0 < port < 65536)
        self.assertFalse(set(host) & set("[]/ \n%é"))
