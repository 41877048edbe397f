"""``backplane enroll`` with an authority that behaves: signed at once, later, and again."""

from __future__ import annotations

import hashlib
import os
import sys

from cryptography import x509
from twisted.internet.defer import CancelledError
from twisted.internet.utils import getProcessOutputAndValue

from backplane.client.accounting import ExitCode
from backplane.client.credentials import load_credentials
from backplane.client.enrolment import EnrolmentError
from backplane.config.client import ClientConfig
from backplane.security.csr import fingerprint_shown, make_request, new_key, private_pem
from backplane.security.issued import fingerprint_of
from backplane.security.pemfiles import load_key_pair, read_key
from tests.cli.enrolling import NAME, EnrolCase, reactor

REQUEST = f"certificate_request/{NAME}"
OURS = f"certificate/{NAME}"


class GoodTests(EnrolCase):
    """Everything is as it should be."""

    async def test_autosign(self) -> None:
        """An authority that signs by itself: it is done at the first look, all is stored."""
        self.ca.autosign = True
        ran = await self.run_command()
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertEqual(
            self.ca.seen,
            [
                "GET certificate/ca",
                "GET certificate_revocation_list/ca",
                f"GET {OURS}",
                f"GET {REQUEST}",
                f"PUT {REQUEST}",
                f"GET {OURS}",
            ],
        )
        self.assertEqual(self.ca.types, {"text/plain"})
        pair = load_key_pair(self.files.cert, self.files.key)
        root = fingerprint_shown(fingerprint_of(self.ca.root.certificate))
        whole = fingerprint_shown(hashlib.sha256(self.ca.bundle).hexdigest())
        asked = fingerprint_shown(make_request(pair.key, NAME).fingerprint)
        ours = fingerprint_shown(fingerprint_of(pair.chain[0]))
        self.assertEqual(
            [line for line in ran.out.splitlines() if "SHA-256" in line],
            [
                "    SHA-256 " + fingerprint_shown(fingerprint_of(self.ca.signer.certificate)),
                f"    SHA-256 {root}",
                f"    SHA-256 {whole}",
                f"  SHA-256 {asked}",
                f"    SHA-256 {ours}",
            ],
        )
        self.assertIn("taken on trust", ran.out)
        self.assertIn("\nenrolled\n", ran.out)
        self.assertTrue(
            ran.out.endswith(
                f"command: plugin.choria.ssldir = {self.folder} in the client's configuration\n"
            ),
            ran.out,
        )

    async def test_files(self) -> None:
        """What is there in the end, and with which modes; the request has gone."""
        self.ca.autosign = True
        await self.enrol()
        self.assertEqual(
            self.modes(),
            {
                "certs/ca.pem": "0o644",
                f"certs/{NAME}.pem": "0o644",
                f"private_keys/{NAME}.pem": "0o600",
                f"public_keys/{NAME}.pem": "0o644",
                "crl.pem": "0o644",
            },
        )
        self.assertEqual(self.content(self.files.ca), self.ca.bundle)
        self.assertEqual(self.content(self.files.crl), self.ca.lists)

    async def test_used(self) -> None:
        """The client finds and takes what was enrolled."""
        self.ca.autosign = True
        await self.enrol()
        config = ClientConfig(raw={"plugin.choria.ssldir": str(self.folder)})
        credentials = load_credentials(config, "host", {"MCOLLECTIVE_CERTNAME": NAME})
        self.assertEqual(credentials.caller_id, f"choria={NAME}")
        self.assertEqual(credentials.warnings, ())

    async def test_signed_later(self) -> None:
        """It looks again and again, ever less often, until somebody has signed."""
        self.ca.sign_at = 7
        enrolled = await self.enrol()
        self.assertTrue(enrolled.fresh)
        self.assertEqual(self.watcher.since, [0.0, 1.0, 2.5, 4.75, 8.125])
        self.assertEqual(set(self.watcher.problems), {None})
        self.assertFalse(self.clock.getDelayedCalls())

    async def test_never_looks_seldom(self) -> None:
        """Two looks are never more than fifteen seconds apart; the last is at the end."""
        await self.assertFailure(self.enrol(wait=100.0), EnrolmentError)
        steps = [b - a for a, b in zip(self.watcher.since, self.watcher.since[1:], strict=False)]
        self.assertEqual(max(steps), 15.0)
        self.assertEqual(self.clock.seconds(), 100.0)

    async def test_unsigned(self) -> None:
        """Nobody has signed in time: what to do, and exit code 3; the key and request stay."""
        line = await self.refusal(ExitCode.NOBODY_ANSWERED)
        self.assertEqual(
            line,
            f"backplane: error: {self.url}/{OURS}: not signed yet; on the CA: "
            f"puppetserver ca sign --certname {NAME}; then run this again",
        )
        key = read_key(self.content(self.files.key))
        self.assertEqual(self.content(self.files.request), make_request(key, NAME).pem)

    async def test_again(self) -> None:
        """Run again it goes on: same key, same request, which is not handed in again."""
        first = await self.run_command()
        key = self.content(self.files.key)
        second = await self.run_command()
        self.assertEqual((first.code, second.code), (3, 3))
        self.assertEqual(self.content(self.files.key), key)
        self.assertEqual(self.ca.seen.count(f"PUT {REQUEST}"), 1)
        self.assertEqual(self.ca.seen.count("GET certificate/ca"), 1)
        self.assertIn("waits there since earlier", second.out)
        (asked,) = {line for line in first.out.splitlines() if line.startswith("  SHA-256")}
        self.assertIn(asked, second.out)
        self.ca.sign(NAME)
        third = await self.run_command()
        self.assertEqual(third.code, 0, third.err)
        self.assertEqual(self.content(self.files.key), key)
        self.assertFalse(self.there(self.files.request))

    async def test_already(self) -> None:
        """All is there and good: it says so, and asks nobody."""
        self.ca.autosign = True
        await self.enrol()
        self.ca.seen.clear()
        ran = await self.run_command()
        self.assertEqual((ran.code, ran.err, self.ca.seen), (0, "", []))
        self.assertIn("\nenrolled already, and all is good\n", ran.out)

    async def test_authority_lost(self) -> None:
        """Only the authority's file is missing: it is fetched, the rest stays."""
        self.ca.autosign = True
        await self.enrol()
        os.unlink(self.files.ca)
        enrolled = await self.enrol()
        self.assertFalse(enrolled.fresh)
        self.assertEqual(self.content(self.files.ca), self.ca.bundle)

    async def test_own_key(self) -> None:
        """A key that is there is used; others who can read it draw a warning."""
        self.files.make()
        key = new_key()
        self.files.write_key(private_pem(key))
        os.chmod(self.files.key, 0o644)
        self.ca.autosign = True
        ran = await self.run_command()
        self.assertEqual(ran.code, 0, ran.err)
        self.assertIn("can be read by others", ran.err)
        self.assertEqual(self.content(self.files.key), private_pem(key))
        self.assertIn(f"key {self.files.key}, which was there", ran.out)

    async def test_pinned(self) -> None:
        """The root's fingerprint or that of the file, however it is written."""
        self.ca.autosign = True
        for pin in (
            fingerprint_of(self.ca.root.certificate),
            hashlib.sha256(self.ca.bundle).hexdigest(),
        ):
            ran = await self.run_command(pin=pin)
            self.assertEqual(ran.code, 0, ran.err)
            self.assertIn("\n  as asked for\n", ran.out)
            self.assertNotIn("trust", ran.out)

    async def test_old_server(self) -> None:
        """A server's certificate without alternative names is compared by its CN, and told."""
        self.ca.names = ()
        self.listen()
        self.ca.autosign = True
        ran = await self.run_command()
        self.assertEqual(ran.code, 0, ran.err)
        self.assertEqual(ran.err.count("the server's certificate has no subjectAltName"), 1)

    async def test_no_lists(self) -> None:
        """Without revocation lists it goes on."""
        self.ca.autosign = True
        self.ca.lists = b""
        await self.enrol()
        self.assertFalse(self.there(self.files.crl))
        self.ca.answers["GET", "certificate_revocation_list"] = (403, b"Forbidden")
        os.unlink(self.files.cert)
        await self.enrol()
        (warning,) = self.watcher.warnings
        self.assertIn("no revocation lists", warning)

    async def test_secret_requests(self) -> None:
        """An authority that shows no requests: the first run hands in, the second waits."""
        self.ca.answers["GET", "certificate_request"] = (403, b"Forbidden")
        await self.assertFailure(self.enrol(0.0), EnrolmentError)
        await self.assertFailure(self.enrol(0.0), EnrolmentError)
        (warning,) = self.watcher.warnings
        self.assertIn("already has a requested certificate", warning)
        self.ca.sign(NAME)
        self.assertTrue((await self.enrol(0.0)).fresh)

    async def test_interrupted(self) -> None:
        """An interrupt ends it at once, and the next run goes on."""
        self.ca.answers["PUT", "certificate_request"] = None
        working = self.enrol()
        await self.ca.asked
        working.cancel()
        await self.assertFailure(working, CancelledError)
        self.assertFalse(self.clock.getDelayedCalls())
        del self.ca.answers["PUT", "certificate_request"]
        self.ca.autosign = True
        self.assertTrue((await self.enrol()).fresh)

    async def test_restarts_meanwhile(self) -> None:
        """While it waits, an authority that is away for a moment is no reason to end."""
        self.ca.sign_at = 4
        working = self.enrol()
        told: list[str | None] = []

        def away(since: float, left: float, problem: str | None) -> None:
            told.append(problem)
            if len(told) == 1:
                self.ca.answers["GET", "certificate"] = (503, b"starting")
            else:
                self.ca.answers.clear()
            reactor.callLater(0, self.clock.advance, 15.0)

        self.watcher.waiting = away  # type: ignore[method-assign]
        self.assertTrue((await working).fresh)
        self.assertEqual(told[0], None)
        self.assertIn("503 Service Unavailable: starting", str(told[1]))


class ShownTests(EnrolCase):
    """What the operator sees."""

    async def test_progress(self) -> None:
        """On a terminal a line shows how long it waits; it is gone in the end."""
        self.ca.sign_at = 3
        ran = await self.run_command(wait=60.0, live=True)
        self.assertEqual(ran.code, 0, ran.err)
        self.assertIn("\rwaiting... 0s, 1m00s left", ran.err)
        self.assertTrue(ran.err.endswith("\r"))
        self.assertIn("1m00s at most; on the CA: puppetserver ca sign", ran.out)

    async def test_json(self) -> None:
        """One document, in the end."""
        self.ca.autosign = True
        ran = await self.run_command(as_json=True)
        self.assertEqual(ran.err, "")
        document = ran.json()
        certificate = x509.load_pem_x509_certificate(self.content(self.files.cert))
        self.assertEqual(document["certificate"]["sha256"], fingerprint_of(certificate))
        self.assertEqual(document["certificate"]["path"], self.files.cert)
        self.assertEqual(document["key"], {"path": self.files.key, "new": True})
        self.assertEqual(len(document["ca"]["certificates"]), 2)
        self.assertEqual(document["request"]["new"], True)
        self.assertEqual((document["error"], document["exit_code"]), (None, 0))
        self.assertEqual((document["certname"], document["warnings"]), (NAME, []))

    async def test_json_error(self) -> None:
        """An error too, with what is known by then."""
        ran = await self.run_command(as_json=True)
        document = ran.json()
        self.assertEqual((document["exit_code"], ran.code, ran.err), (3, 3, ""))
        self.assertIn("not signed", document["error"])
        self.assertIn("sha256", document["request"])

    async def test_hostile_words(self) -> None:
        """What a server says does not drive the terminal."""
        self.ca.answers["PUT", "certificate_request"] = (400, b"\x1b[2J\nall is well\r" * 900)
        line = await self.refusal(ExitCode.FAILED)
        self.assertNotIn("\x1b", line)
        self.assertTrue(len(line) < 900)

    async def test_command(self) -> None:
        """The command itself, as a process."""
        self.ca.autosign = True
        env = {"HOME": str(self.folder.parent), "PATH": "", "MCOLLECTIVE_CERTNAME": NAME}
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            [
                *("-m", "backplane.cli.main", "enroll", "--ca", f"127.0.0.1:{self.port}"),
                *("--ssl-dir", str(self.folder), "--wait", "20"),
            ],
            env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual((code, err), (0, b""))
        self.assertIn(b"\nenrolled\n", out)
