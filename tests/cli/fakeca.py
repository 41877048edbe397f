"""A fake of a Puppet authority's HTTP interface, under TLS on the loopback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet import reactor as default
from twisted.internet.defer import Deferred
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from backplane.testing.brokertls import BrokerSideTLS
from backplane.testing.minting import (
    Authority,
    Key,
    Request,
    make_certificate,
    make_ec_key,
    pem,
    time_of,
)

DAY = 86_400.0
CLIENT = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""Puppet's authorities issue for both."""


def make_authority(name: str, above: Authority | None = None) -> Authority:
    """Return an authority, below another where there is one."""
    key, now = make_ec_key(), time.time()
    wanted = Request(name=name, begin=now - DAY, end=now + 3650 * DAY, authority=True)
    return Authority(make_certificate(above, key, wanted), key)


class FakeCA(Resource):
    """What a Puppet Server answers below ``/puppet-ca/v1``.

    Authorities of Puppet have a root and below it one that signs.

    :ivar names: alternative names of the server's certificate, whose CN is ``localhost``.
    :ivar autosign: whether a request is signed when it comes.
    :ivar sign_at: number of the look for a certificate at which it is signed.
    :ivar answers: what is answered instead, by method and kind of thing: status and body,
        or ``None`` for no answer.
    :ivar seen: method and path of each question.
    :ivar headers: how many useless ones an answer has.
    :ivar asked: fires at the next question that has no answer.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.names: tuple[str, ...] = ("localhost", "127.0.0.1")
        self.root = make_authority("Puppet Root CA: test")
        self.signer = make_authority("Puppet CA: test", self.root)
        self.autosign = False
        self.sign_at = 0
        self.answers: dict[tuple[str, str], tuple[int, bytes] | None] = {}
        self.seen: list[str] = []
        self.asked: Deferred[None] = Deferred()
        self.headers = 0
        self.types: set[str | None] = set()
        self.requests: dict[str, bytes] = {}
        self.certificates: dict[str, bytes] = {}
        self.changes: dict[str, Any] = {}
        self.lists = self.list_of(self.signer) + self.list_of(self.root)
        self._looks = 0

    @property
    def bundle(self) -> bytes:
        return pem(self.signer.certificate, self.root.certificate)

    def listen(self, reactor: Any = default) -> Any:
        """Listen on a free port; return the port."""
        key, now = make_ec_key(), time.time()
        wanted = Request(
            name="localhost", names=self.names, begin=now - DAY, end=now + DAY, purposes=CLIENT
        )
        certificate = make_certificate(self.signer, key, wanted)
        tls = BrokerSideTLS([certificate, self.signer.certificate], key, [])
        # Wrapped, a site negotiates no protocol, which older Twisteds do too late.
        plain = WrappingFactory(Site(self))
        return reactor.listenTCP(0, TLSMemoryBIOFactory(tls, False, plain), interface="127.0.0.1")

    def render(self, request: Any) -> Any:
        """Answer one question."""
        method, path = request.method.decode(), request.path.decode()
        *start, kind, name = path.split("/")
        self.seen.append(f"{method} {kind}/{name}")
        if start != ["", "puppet-ca", "v1"] or request.args != {b"environment": [b"production"]}:
            status, body = 400, b"Bad Request"
        elif (method, kind) in self.answers:
            answer = self.answers[method, kind]
            if answer is None:
                self.asked.callback(None)
                self.asked = Deferred()
                return NOT_DONE_YET
            status, body = answer
        elif method == "PUT":
            self.types.add(request.getHeader("content-type"))
            status, body = self.take(name, request.content.read())
        else:
            status, body = self.give(kind, name)
        request.setResponseCode(status)
        for number in range(self.headers):
            request.setHeader(f"x-header-{number}", "useless")
        request.setHeader("content-type", "text/plain")
        return body

    def take(self, name: str, body: bytes) -> tuple[int, bytes]:
        """Take a request, as Puppet Server does."""
        asked = x509.load_pem_x509_csr(body)
        (common,) = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if common.value != name or not asked.is_signature_valid:
            return 400, b"Instance name does not match requested key"
        for had, what in ((self.certificates, b"signed"), (self.requests, b"requested")):
            if name in had:
                told = b" already has a %b certificate; ignoring certificate request" % what
                return 400, name.encode() + told
        self.requests[name] = body
        if self.autosign:
            self.sign(name)
        return 200, b""

    def give(self, kind: str, name: str) -> tuple[int, bytes]:
        """Give what there is."""
        if kind == "certificate" and name != "ca":
            self._looks += 1
            if self._looks == self.sign_at:
                self.sign(name)
        held = {
            "certificate": {**self.certificates, "ca": self.bundle},
            "certificate_request": self.requests,
            "certificate_revocation_list": {"ca": self.lists},
        }
        found = held.get(kind, {}).get(name)
        return (200, found) if found else (404, f"Could not find {kind} {name}".encode())

    def sign(self, name: str) -> None:
        """Sign the request that waits, as ``puppetserver ca sign`` does."""
        self.certificates[name] = self.issue(x509.load_pem_x509_csr(self.requests.pop(name)), name)

    def issue(self, key: Any, name: str, issuer: Authority | None = None) -> bytes:
        """Issue a certificate for a key, or whatever has a public one."""
        now = time.time()
        values = {
            "name": name,
            "begin": now - DAY,
            "end": now + 1825 * DAY,
            "purposes": CLIENT,
            **self.changes,
        }
        return pem(make_certificate(issuer or self.signer, cast(Key, key), Request(**values)))

    def list_of(self, authority: Authority, *revoked: x509.Certificate) -> bytes:
        """Return a revocation list."""
        now = time.time()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.certificate.subject)
            .last_update(time_of(now - DAY))
            .next_update(time_of(now + DAY))
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(time_of(now - DAY)).build()
            )
        return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def store(self, folder: Path) -> None:
        """Put the authority's certificates into a directory of Puppet's layout."""
        (folder / "certs").mkdir(parents=True)
        (folder / "certs" / "ca.pem").write_bytes(self.bundle)
