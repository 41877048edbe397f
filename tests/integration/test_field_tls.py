"""What people ran into with certificates: names without alternatives, files with several."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane.testing import PKI, Harness, RecordingApplication
from tests.node.messages import Lines

BROKER = "broker.example.net"
IDENTITY = "app1.example.net"
FULL = "sre.choria"
END = "-----END CERTIFICATE-----\n"


def pieces(*paths: str) -> list[str]:
    """Return the certificates of some files, each as PEM."""
    text = "".join(Path(path).read_text() for path in paths)
    return [f"{each}{END}" for each in text.split(END) if each.strip()]


def described(certificate: str) -> str:
    """Return what ``openssl x509 -text`` makes of it: words in front."""
    done = subprocess.run(
        ["openssl", "x509", "-text"], input=certificate, capture_output=True, text=True, check=True
    )
    assert "Signature Algorithm" in done.stdout
    return done.stdout


FORMS: dict[str, Callable[[list[str]], str]] = {
    "as they are": "".join,
    "the other way round": lambda each: "".join(reversed(each)),
    "with text in front": lambda each: "".join(map(described, each)),
    "CRLF": lambda each: "".join(each).replace("\n", "\r\n"),
    "blank lines": lambda each: "\n\n".join(each) + "\n  \n\n",
}


class TLSCase(SynchronousTestCase):
    """A secure harness and its log."""

    def setUp(self) -> None:
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, newline="")
        return str(path)

    def refusal(self, harness: Harness, tls: Mapping[str, object]) -> str:
        """Return what a service says that has not come to its broker."""
        management = harness.make(tls=dict(tls), brokers=[f"{BROKER}:4222"])
        management.provide(RecordingApplication())
        management.startService()
        harness.advance(3)
        self.assertFalse(management.state.ready)
        lines = [line for line in self.log.texts("warn") if "cannot connect" in line]
        self.log.events.clear()
        harness.result_of(management.stopService())
        self.assertEqual(len(lines), 1, lines)
        return lines[0]


class ChainTests(TLSCase):
    """Root, intermediate and leaf, for broker, service and caller."""

    def test_forms(self) -> None:
        """Any order of CAs, two roots, words, CRLF, blank lines: all connect and verify."""
        for name, form in FORMS.items():
            harness = Harness(secure=True)
            self.addCleanup(harness.close)
            below = harness.pki.intermediate()
            stranger = PKI(harness.folder / "stranger", "Unrelated CA")
            broker, service, caller = (
                below.server(BROKER),
                below.client(IDENTITY),
                below.client(FULL),
            )
            # The leaf comes first in its file; that is what the file is for.
            leaf = pieces(service.cert)
            words = form if name != "the other way round" else FORMS["as they are"]
            harness.broker.tls = harness.pki.broker_tls(broker)
            app = RecordingApplication()
            harness.manage(
                app,
                identity=IDENTITY,
                tls={
                    "ca": self.write("ca.pem", form(pieces(stranger.ca, harness.pki.ca))),
                    "cert": self.write("cert.pem", words(leaf)),
                    "key": service.key,
                },
            )
            result = harness.as_caller(FULL, caller).pause()
            self.assertEqual(result.verdict, "ok", name)
            self.assertIn("pause", app.calls)
            harness.close()

    def test_authority_in_between(self) -> None:
        """The intermediate authority beside the root in the CA file does no harm either."""
        harness = Harness(secure=True)
        self.addCleanup(harness.close)
        below = harness.pki.intermediate()
        service = below.client(IDENTITY)
        leaf, between = pieces(service.cert)[:2]
        for each in ([between], pieces(harness.pki.ca)):
            self.assertEqual(len(each), 1)
        harness.broker.tls = harness.pki.broker_tls(below.server(BROKER))
        for number, order in enumerate(((between, *pieces(harness.pki.ca)),) * 2):
            parts = order if number else tuple(reversed(order))
            management = harness.manage(
                RecordingApplication(),
                identity=IDENTITY,
                tls={
                    "ca": self.write("ca.pem", "".join(parts)),
                    "cert": self.write("cert.pem", leaf + between),
                    "key": service.key,
                },
            )
            self.assertTrue(harness.as_caller(FULL, below.client(FULL)).ping().ok)
            harness.result_of(management.stopService())

    def test_missing(self) -> None:
        """A broker that leaves its intermediate out: which one is missing is said."""
        harness = Harness(secure=True)
        self.addCleanup(harness.close)
        below = harness.pki.intermediate()
        server = below.server(BROKER)
        Path(server.cert).write_text(pieces(server.cert)[0])
        harness.broker.tls = harness.pki.broker_tls(server, verify=False)
        said = self.refusal(harness, {})
        self.assertIn("nor was it sent along: 'CN=Test Issuing CA'", said)
        self.assertIn(BROKER, said)


class CommonNameTests(TLSCase):
    """A broker with a CN and no alternative names."""

    def setUp(self) -> None:
        super().setUp()
        self.harness = Harness(secure=True)
        self.addCleanup(self.harness.close)

    def broker(self, defect: str, name: str) -> None:
        server = self.harness.pki.defective_server(defect, name)
        self.harness.broker.tls = self.harness.pki.broker_tls(server, verify=False)

    def puppet(self) -> dict[str, object]:
        """Return a section of the scheme ``puppet``."""
        issued = self.harness.pki.client(IDENTITY)
        return {"scheme": "puppet", "ssl_dir": self.harness.pki.puppet_layout(issued)}

    def manage(self, tls: dict[str, object]) -> None:
        self.harness.manage(RecordingApplication(), identity=IDENTITY, tls=tls)
        self.harness.close()

    def test_file(self) -> None:
        """Refused with broker, name, CN and the setting; with the setting it is compared."""
        self.broker("no_san", BROKER.upper())
        said = self.refusal(self.harness, {})
        for words in (
            f"cannot connect to {BROKER}:4222",
            f"has no subjectAltName, its CN is '{BROKER.upper()}'",
            f"wanted one for {BROKER}",
            "support_legacy_certificates",
        ):
            self.assertIn(words, said)
        self.manage({"support_legacy_certificates": True})

    def test_wrong(self) -> None:
        """A wrong CN is refused whatever is set: the chain alone is never enough."""
        self.broker("no_san", "elsewhere.example.net")
        for tls in ({"support_legacy_certificates": True}, self.puppet()):
            said = self.refusal(self.harness, tls)
            self.assertIn("elsewhere.example.net", said)
            self.assertIn(BROKER, said)

    def test_puppet(self) -> None:
        """The scheme ``puppet`` compares the CN, ignoring case."""
        self.broker("no_san", BROKER.title())
        self.manage(self.puppet())
