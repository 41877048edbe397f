"""TLS to a broker, both ends in memory: what is taken, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.security.chains import load_authorities
from backplane.security.pemfiles import load_key_pair
from backplane.security.tls import BrokerSecurity, BrokerTLS
from backplane.testing import PKI
from backplane.testing.brokertls import BrokerSideTLS
from backplane.testing.pki import Issued

HOST = "broker.example.net"


class Layer:
    """What Twisted's layer does when a certificate is not good."""

    failed: Failure | None = None

    def failVerification(self, reason: Failure) -> None:
        self.failed = reason


class End:
    """One end of a connection, and how it ended."""

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        self.done = False
        self.error: SSL.Error | None = None

    def turn(self, other: End) -> None:
        """Go on with the handshake, or read, and hand over what there is to send."""
        if self.error is None:
            try:
                if self.done:
                    self.connection.recv(100)
                else:
                    self.connection.do_handshake()
                    self.done = True
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.error = error
        try:
            other.connection.bio_write(self.connection.bio_read(1 << 16))
        except SSL.WantReadError:
            pass


class TLSTests(SynchronousTestCase):
    """An authority, and connections between those who have certificates of it."""

    def setUp(self) -> None:
        self.pki = PKI(self.mktemp())
        self.warnings: list[str] = []

    def client(
        self, own: Issued | None = None, *, ca: str | None = None, legacy: bool = False
    ) -> BrokerTLS:
        pair = None if own is None else load_key_pair(own.cert, own.key)
        roots = load_authorities(ca or self.pki.ca).certificates
        return BrokerTLS(roots, pair, legacy=legacy, warn=self.warnings.append)

    def connect(self, security: BrokerSecurity, broker: BrokerSideTLS) -> str | None:
        """Shake hands; return what the client has to say against it."""
        layer = Layer()
        self.ours = End(security.clientConnectionForTLS(layer))
        self.theirs = End(broker.serverConnectionForTLS(None))
        self.ours.connection.set_connect_state()
        self.theirs.connection.set_accept_state()
        for _ in range(10):
            self.ours.turn(self.theirs)
            self.theirs.turn(self.ours)
        said = security.explain(self.ours.error)
        self.assertEqual(layer.failed is not None, said is not None and self.ours.error is None)
        return said

    def refusal(self, server: Issued, host: str = HOST, legacy: bool = False) -> str:
        broker = self.pki.broker_tls(server, verify=False)
        said = self.connect(self.client(legacy=legacy)(host), broker)
        assert said is not None
        return said

    def test_interface(self) -> None:
        """Twisted takes it for what it is."""
        verifyObject(IOpenSSLClientConnectionCreator, self.client()(HOST))

    def test_good(self) -> None:
        """By name and by address, with TLS 1.2 and 1.3, with and without a certificate."""
        server = self.pki.server(HOST, "127.0.0.1")
        broker = self.pki.broker_tls(server)
        tls = self.client(self.pki.client("app1.example.net"))
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            broker.newest = newest
            for host in (HOST, "127.0.0.1", f"{HOST}."):
                self.assertIsNone(self.connect(tls(host), broker))
                self.assertTrue(self.ours.done and self.theirs.done)
                name = self.theirs.connection.get_servername()
                self.assertEqual(name, None if host == "127.0.0.1" else HOST.encode())
        self.assertIsNone(
            self.connect(self.client()(HOST), self.pki.broker_tls(server, verify=False))
        )

    def test_old_version(self) -> None:
        """TLS 1.1 is not spoken."""
        broker = self.pki.broker_tls(self.pki.server(HOST), verify=False)
        broker.newest = SSL.TLS1_1_VERSION
        said = self.connect(self.client()(HOST), broker)
        self.assertIn("no version of TLS that is new enough", said or "")
        self.assertFalse(self.ours.done or self.theirs.done)

    def test_intermediates(self) -> None:
        """Both sides may have certificates of an authority below the one that is known."""
        below = self.pki.intermediate()
        broker = self.pki.broker_tls(below.server(HOST))
        self.assertIsNone(self.connect(self.client(below.client("app1.example.net"))(HOST), broker))
        self.assertTrue(self.theirs.done)

    def test_partial_chain(self) -> None:
        """An intermediate authority in the CA file will do, without its root."""
        server = self.pki.intermediate().server(HOST)
        end = "-----END CERTIFICATE-----\n"
        ca = Path(self.mktemp())
        ca.write_text(Path(server.cert).read_text().split(end)[1] + end)
        broker = self.pki.broker_tls(server, verify=False)
        self.assertIsNone(self.connect(self.client(ca=str(ca))(HOST), broker))

    def test_defects(self) -> None:
        """Each defect of a broker's certificate has words of its own."""
        for defect, words in (
            ("expired", "CN=broker.example.net' is not good: it has expired"),
            ("not_yet_valid", "it is not valid yet"),
            ("other_ca", "its authority is not in the CA file, nor was it sent along: 'CN=Other"),
            ("missing_intermediate", "nor was it sent along: 'CN=Missing CA'"),
            ("self_signed", "it is signed by itself"),
            ("wrong_purpose", "it is not for servers"),
            ("other_name", "is for other-broker.example.net, not for broker.example.net"),
            ("no_san", "has no subjectAltName, its CN is 'broker.example.net'; wanted one for"),
        ):
            self.assertIn(words, self.refusal(self.pki.defective_server(defect, HOST)), defect)
            self.assertFalse(self.theirs.done and self.ours.error is not None, defect)
        self.assertEqual(self.warnings, [])

    def test_wrong_ca(self) -> None:
        """Another CA file than the broker's authority."""
        other = PKI(self.mktemp(), "Unrelated CA")
        broker = self.pki.broker_tls(self.pki.server(HOST), verify=False)
        said = self.connect(self.client(ca=other.ca)(HOST), broker)
        self.assertIn("its authority is not in the CA file", said or "")
        self.assertIn("'CN=Test CA'", said or "")

    def test_address_not_named(self) -> None:
        """An address that is not in the certificate."""
        said = self.refusal(self.pki.server(HOST), "127.0.0.1")
        self.assertEqual(said, f"the broker's certificate is for {HOST}, not for 127.0.0.1")

    def test_legacy(self) -> None:
        """A certificate without alternative names is taken with one warning, by name only."""
        server = self.pki.defective_server("no_san", HOST)
        broker = self.pki.broker_tls(server, verify=False)
        tls = self.client(legacy=True)
        for _ in range(3):
            self.assertIsNone(self.connect(tls(HOST.upper()), broker))
        self.assertEqual(len(self.warnings), 1)
        self.assertIn(f"its CN is '{HOST}'", self.warnings[0])
        said = self.refusal(server, "127.0.0.1", legacy=True)
        self.assertIn("wanted one for 127.0.0.1", said)
        said = self.refusal(server, "other.example.net", legacy=True)
        self.assertIn("not other.example.net", said)

    def test_legacy_chain(self) -> None:
        """Its chain is looked at as well."""
        server = self.pki.server(HOST)
        broker = self.pki.broker_tls(server, verify=False)
        other = PKI(self.mktemp(), "Unrelated CA")
        said = self.connect(self.client(ca=other.ca, legacy=True)(HOST), broker)
        self.assertIn("its authority is not in the CA file", said or "")

    def test_rejected(self) -> None:
        """What the broker says of our certificate is passed on, with both versions of TLS."""
        broker = self.pki.broker_tls(self.pki.server(HOST))
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            broker.newest = newest
            for own, words in (
                (None, ("wants a certificate",)),
                (
                    self.pki.defective_client("other_ca", "app1.example.net"),
                    ("it does not know the authority of our certificate",),
                ),
                (
                    self.pki.defective_client("expired", "app1.example.net"),
                    ("our certificate has expired",),
                ),
                (
                    self.pki.defective_client("wrong_purpose", "app1.example.net"),
                    ("our certificate is not for clients", "does not take our certificate"),
                ),
            ):
                said = self.connect(self.client(own)(HOST), broker) or ""
                self.assertTrue(any(each in said for each in words), said)
                self.assertFalse(self.theirs.done)

    def test_no_tls(self) -> None:
        """A broker that says something else."""
        security = self.client()(HOST)
        connection = security.clientConnectionForTLS(Layer())
        connection.set_connect_state()
        connection.bio_write(b'INFO {"server_id":"x"} \r\n')
        with self.assertRaises(SSL.Error) as caught:
            connection.do_handshake()
        self.assertIn(
            "does not speak TLS, or not at once", security.explain(caught.exception) or ""
        )

    def test_other_errors(self) -> None:
        """It has nothing to say of what is not TLS; an error without words gets some."""
        security = self.client()(HOST)
        self.assertIsNone(security.explain(None))
        self.assertIsNone(security.explain(ConnectionError("x")))
        for error in (SSL.Error(), SSL.Error([]), SSL.SysCallError(-1, "Unexpected EOF")):
            self.assertIn("closed in the handshake", security.explain(error) or "")
        strange = SSL.Error([("SSL routines", "", "strange thing")])
        self.assertEqual(security.explain(strange), "TLS failed: strange thing")
