"""``backplane doctor``: what it says of brokers, in memory and with real TLS."""

from __future__ import annotations

import tempfile
import time
from functools import cache
from typing import Any

from twisted.internet.defer import CancelledError

from backplane.choria import v1
from backplane.choria.message import Reply
from backplane.cli.doctor.findings import exit_code
from backplane.cli.doctor.fleet import compare
from backplane.cli.doctor.subjects import operator_subjects, service_subjects
from backplane.client.accounting import ExitCode
from backplane.testing import PKI
from backplane.testing.broker import BrokerClient, FakeBroker
from tests.cli.doctoring import HOST, DoctorCase, operator, service, told

NODE = "shop_backplane.node.shop1.example.net"


@cache
def authority() -> PKI:
    return PKI(tempfile.mkdtemp(dir="."), reuse_keys=True)


@cache
def foreign() -> PKI:
    return PKI(tempfile.mkdtemp(dir="."), "Foreign CA", reuse_keys=True)


class PlainTests(DoctorCase):
    """The insecure mode, so that the broker alone is looked at."""

    def broker(self, host: str = HOST, **options: Any) -> FakeBroker:
        broker = FakeBroker(**options)
        self.network.listen(host, 4222, broker)
        return broker

    def test_good(self) -> None:
        """Each subject is tried, nothing that others hear, and all is undone."""
        broker = self.broker()
        found = self.examine(service())
        self.assertEqual(
            told(found),
            [
                ("broker.tcp", "ok"),
                ("broker.login", "ok"),
                ("broker.subscribe", "ok"),
                ("broker.publish", "ok"),
                ("broker.publish", "skipped"),
                ("services.clock", "skipped"),
            ],
        )
        wanted = service_subjects(service(), ())
        for subject in (*wanted.subscribe, wanted.optional[0][0]):
            self.assertIn(subject, found[2].detail)
        self.assertEqual([subject for subject, _ in broker.published], list(wanted.publish))
        self.assertEqual(broker.clients, [])

    def test_publish(self) -> None:
        """What others hear is tried when that is wanted; an agent of one's own too."""
        broker = self.broker(deny_publish=["choria.>"])
        found = self.examine(service(), publish=True, agents=("shopping",))
        self.assert_told(found, ("broker.publish", "failed"))
        self.assertIn("shop_backplane.broadcast.agent.shopping", found[2].detail)
        self.assertEqual(found[3].fix, 'permissions in the broker: publish: ["choria.lifecycle.>"]')
        subjects = [subject for subject, _ in broker.published]
        self.assertIn("shop_backplane.broadcast.agent.registration", subjects)

    def test_denied(self) -> None:
        """A subject that is needed fails, one that is not is a warning; both say what to add."""
        self.broker(deny_subscribe=["shop_backplane.node.>", "shop_backplane.reply.>"])
        found = self.examine(service())
        self.assert_told(found, ("broker.subscribe", "failed"), ("broker.subscribe", "warning"))
        self.assertIn(f'Permissions Violation for Subscription to "{NODE}"', found[2].detail)
        fix = 'permissions in the broker: subscribe: ["shop_backplane.node.>"]'
        self.assertEqual(found[2].fix, fix)
        self.assertIs(exit_code(found), ExitCode.CREDENTIALS)

    def test_login(self) -> None:
        """Wrong, missing, and right; the password is nowhere."""
        self.broker(user="shop", password="sesame")
        for fields, fix in (
            ({}, "set management.nats"),
            ({"user": "shop", "password": "wr0ng"}, "correct management.nats, or the broker's"),
            ({"brokers": [f"shop:wr0ng@{HOST}"]}, "correct management.nats, or the broker's"),
        ):
            self.findings.clear()
            found = self.examine(service(**fields))
            self.assert_told(found, ("broker.login", "failed"))
            self.assertTrue((found[1].fix or "").startswith(fix), found[1].fix)
            self.assertIs(exit_code(found), ExitCode.CREDENTIALS)
            self.assertNotIn("wr0ng", str(self.findings))
        self.findings.clear()
        found = self.examine(service(user="shop", password="sesame"))
        self.assert_told(found)
        self.assertIn("let in as user shop", found[1].detail)

    def test_pool(self) -> None:
        """Each server is tried, and named; those that fail end nothing."""
        self.broker("b.example.net")
        self.network.fail_dns("nosuch.example.net")
        self.broker("silent.example.net").silent = True
        names = ["a.example.net", "nosuch.example.net", "silent.example.net", "b.example.net"]
        found = self.examine(service(brokers=names))
        self.assert_told(
            found,
            ("broker.tcp", "failed"),
            ("broker.tcp", "failed"),
            ("broker.login", "failed"),
        )
        bad = [each for each in found if each.verdict.value == "failed"]
        self.assertTrue(bad[0].detail.startswith("a.example.net:4222: "))
        self.assertEqual(bad[0].fix, "start the broker there, or correct the address and port")
        self.assertIn("correct the name", bad[1].fix or "")
        self.assertIn("INFO did not come within 5 s", bad[2].detail)
        self.assertIs(exit_code(found), ExitCode.UNREACHABLE)
        good = [each.check for each in found if each.detail.startswith("b.example.net:4222: ")]
        self.assertIn("broker.subscribe", good)

    def test_lost(self) -> None:
        """A broker that answers no PING any more, or drops us."""
        broker = self.broker()

        def allowed(client: BrokerClient, subject: str, queue: str | None) -> bool:
            broker.silent_ping = True
            return True

        broker.may_subscribe = allowed
        found = self.examine(service())
        self.assert_told(found, ("broker.subscribe", "failed"))
        self.assertIn("no answer to a PING within 5 s", found[2].detail)

    def test_tls_wanted(self) -> None:
        """The broker wants TLS, and there is none."""
        tls = authority().broker_tls(authority().server(HOST))
        self.broker(tls=tls, clock=self.clock)
        found = self.examine(service())
        self.assert_told(found, ("broker.tls", "failed"))
        self.assertEqual(found[1].fix, "management.tls with scheme, ca, cert and key")
        self.findings.clear()
        self.assertEqual(self.examine(operator())[1].fix, "leave --insecure out")

    def test_partial(self) -> None:
        """A file with mistakes and without TLS may have lost it by one of them."""
        broker = self.broker()
        found = self.examine(service(partial=True))
        self.assertEqual(told(found), [("broker", "skipped")])
        self.assertEqual(broker.connections, 0)

    def test_interrupted(self) -> None:
        """It ends at once, and leaves nothing behind."""
        self.broker().silent = True
        done = self.begin(service(brokers=[HOST, f"{HOST}:4223"]))
        self.network.flush()
        done.cancel()
        self.network.flush()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SecureTests(DoctorCase):
    """Both ends with certificates, which OpenSSL judges by the real time."""

    start = time.time()

    def broker(self, server: Any = None, pki: PKI | None = None, **options: Any) -> FakeBroker:
        pki = pki or authority()
        tls = pki.broker_tls(server or pki.server(HOST))
        broker = FakeBroker(tls=tls, clock=self.clock, **options)
        self.network.listen(HOST, 4222, broker)
        return broker

    def test_good(self) -> None:
        self.broker()
        found = self.examine(service(authority().client("shop1.example.net")))
        self.assertEqual(
            told(found)[:4],
            [
                ("broker.tcp", "ok"),
                ("broker.tls", "ok"),
                ("broker.certificate", "ok"),
                ("broker.login", "ok"),
            ],
        )
        self.assertRegex(found[1].detail, rf"^{HOST}:4222: TLSv1\.3, TLS_\w+, a certificate for ")
        self.assert_told(found)

    def test_reasons(self) -> None:
        """Each thing that can be wrong with TLS, its reason, its fix and whose it is."""
        pki = authority()
        good = pki.client("shop1.example.net")
        for server, client, reason, fix, code in (
            (
                lambda: foreign().server(HOST),
                good,
                "its authority is not in the CA file, nor was it sent along: 'CN=Foreign CA'",
                f"put the authority of the broker's certificate into {good.ca}",
                ExitCode.UNREACHABLE,
            ),
            (
                lambda: pki.server("other.example.net"),
                good,
                f"the broker's certificate is for other.example.net, not for {HOST}",
                "use one of those names in management.brokers",
                ExitCode.UNREACHABLE,
            ),
            (
                lambda: pki.defective_server("expired", HOST),
                good,
                "it has expired",
                "renew the broker's certificate",
                ExitCode.UNREACHABLE,
            ),
            (
                lambda: pki.defective_server("no_san", HOST),
                good,
                f"no subjectAltName, its CN is '{HOST}'",
                "management.tls.support_legacy_certificates: true",
                ExitCode.UNREACHABLE,
            ),
            (
                lambda: pki.server(HOST),
                pki.defective_client("expired", "shop1.example.net"),
                "the broker rejected us: our certificate has expired",
                "renew ",
                ExitCode.CREDENTIALS,
            ),
            (
                lambda: pki.server(HOST),
                pki.defective_client("other_ca", "shop1.example.net"),
                "the broker rejected us: it does not know the authority of our certificate",
                "get a certificate from an authority in the broker's ca_file",
                ExitCode.CREDENTIALS,
            ),
        ):
            self.network.ports.clear()
            self.findings.clear()
            self.broker(server())
            found = self.examine(service(client))
            self.assert_told(found, ("broker.tls", "failed"))
            self.assertIn(reason, found[1].detail)
            self.assertIn(fix, found[1].fix or "")
            self.assertIs(exit_code(found), code)

    def test_legacy(self) -> None:
        """A broker that is taken by its CN draws a warning."""
        self.broker(authority().defective_server("no_san", HOST))
        found = self.examine(service(authority().client("shop1.example.net"), legacy=True))
        self.assert_told(found, ("broker.certificate", "warning"))

    def test_soon(self) -> None:
        """A broker whose certificate ends soon."""
        self.broker(authority().server(HOST, seconds=5 * 86400.0 + 3600))
        found = self.examine(service(authority().client("shop1.example.net")))
        self.assert_told(found, ("broker.certificate", "warning"))
        self.assertIn("expires in 5 days", found[2].detail)

    def test_plain(self) -> None:
        """A broker without TLS, where there should be."""
        self.network.listen(HOST, 4222, FakeBroker())
        found = self.examine(service(authority().client("shop1.example.net")))
        self.assert_told(found, ("broker.tls", "failed"))
        self.assertEqual(found[1].detail, f"{HOST}:4222: the broker does not speak TLS")

    def test_first(self) -> None:
        """A broker that wants TLS first, and a service that does not know."""
        self.broker(tls_first=True)
        client = authority().client("shop1.example.net")
        found = self.examine(service(client))
        self.assert_told(found, ("broker.tls", "failed"))
        self.assertIn("management.tls.handshake_first: true", found[1].fix or "")
        self.findings.clear()
        self.assert_told(self.examine(service(client, tls_first=True)))

    def test_only_socket(self) -> None:
        """Without a usable key there is no TLS, but somebody listens, or not."""
        self.broker()
        bad = authority().defective_client("other_key", "shop1.example.net")
        found = self.examine(service(bad, brokers=[HOST, "b.example.net"]))
        self.assertEqual(told(found)[:2], [("broker.tcp", "ok"), ("broker.tls", "skipped")])
        self.assert_told(found, ("broker.tcp", "failed"))

    def test_login(self) -> None:
        """What a broker with users says to one who is none."""
        self.broker(user="shop", password="sesame")
        found = self.examine(service(authority().client("shop1.example.net")))
        self.assertEqual(told(found)[1:3], [("broker.tls", "ok"), ("broker.login", "failed")])
        self.assertIn("verify_and_map", found[2].fix or "")


class FleetTests(DoctorCase):
    """An operator asks services for their time."""

    def setUp(self) -> None:
        super().setUp()
        self.broker = FakeBroker()
        self.network.listen(HOST, 4222, self.broker)

    def answer(self, **ahead: int) -> None:
        """Let services answer whose clocks are ahead by so many seconds."""

        def asked(message: Any) -> None:
            transport = v1.decode_transport(message.payload)
            request = v1.decode_request(v1.decode_secure_request(transport.data).message)
            for name, seconds in ahead.items():
                made = Reply(
                    message="pong",
                    request_id=request.request_id,
                    sender_id=name,
                    agent="discovery",
                    time=int(self.clock.seconds()) + seconds,
                )
                document = v1.encode_transport(v1.seal_reply(made), sender=name)
                assert transport.reply_to is not None
                self.broker.publish(transport.reply_to, document)
                self.broker.publish(transport.reply_to, b"no reply")

        self.broker.subscribe("shop_backplane.broadcast.agent.discovery", asked)

    def test_clocks(self) -> None:
        """Clocks that agree are one line, each other one has its own."""
        self.answer(a=0, b=-1, c=90, d=-7)
        found = self.examine(operator(), service="shop")
        self.assertEqual(
            [(each.verdict.value, each.detail) for each in found[-3:]],
            [
                ("failed", "c is 90 s ahead of this clock"),
                ("failed", "d is 7 s behind this clock"),
                ("ok", "2 services of shop within 5 s of this clock"),
            ],
        )
        self.assertEqual(
            [each for each in self.broker.published if each[1] == b""],
            [("shop_backplane.node.desk.example.net.doctor", b"")],
        )

    def test_nobody(self) -> None:
        """Silence has several reasons, and the services' logs know which."""
        found = self.examine(operator(), service="shop")
        self.assert_told(found, ("services.clock", "warning"))
        self.assertEqual(compare("shop", {}), [found[-1]])

    def test_no_service(self) -> None:
        """Without the name of an application there are no subjects."""
        found = self.examine(operator())
        self.assertEqual(
            told(found)[2:],
            [
                ("broker.subscribe", "skipped"),
                ("broker.publish", "skipped"),
                ("services.clock", "skipped"),
            ],
        )

    def test_refused(self) -> None:
        """An operator who may neither ask nor hear."""
        self.broker.deny_publish = ["*.broadcast.>", "*.node.>"]
        self.broker.deny_subscribe = ["*.reply.>"]
        found = self.examine(operator(), service="shop")
        self.assert_told(
            found,
            ("broker.subscribe", "failed"),
            ("broker.publish", "failed"),
            ("broker.publish", "failed"),
        )
        self.assertEqual(
            [each.fix for each in found if each.fix],
            [
                'permissions in the broker: subscribe: ["shop_backplane.reply.>"]',
                'permissions in the broker: publish: ["shop_backplane.node.>"]',
                'permissions in the broker: publish: ["shop_backplane.broadcast.agent.>"]',
            ],
        )
        self.assertEqual(found[-1].detail, "the broker does not let us ask")

    def test_subjects(self) -> None:
        """Replies come below the hash of the caller id, as Choria has it."""
        wanted = operator_subjects(operator(), "shop", "0" * 32)
        (subject,) = wanted.subscribe
        self.assertRegex(subject, rf"^shop_backplane\.reply\.[0-9a-f]{{32}}\.{'0' * 32}$")
