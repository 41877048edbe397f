"""A throw-away public key infrastructure: an authority, certificates, and defective ones.

Everything is written as PEM files into one folder, keys with mode 0600, as a site
would have them. Clients have RSA keys, because requests are signed with such;
authorities and servers have EC keys, which are made in no time. Nobody must ever
believe these authorities outside of a test.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from backplane.testing.brokertls import BrokerSideTLS
from backplane.testing.minting import (
    Authority,
    Key,
    Request,
    address_of,
    key_pem,
    make_certificate,
    make_ec_key,
    make_rsa_key,
    pem,
    rsa_key_of,
    time_of,
    write_file,
)

__all__ = ["DEFECTS", "PKI", "Issued"]

DAY: Final = 86_400.0
_YEARS: Final = 10 * 365 * DAY

_CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_SERVER: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)

DEFECTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "expired": "its time is over",
        "not_yet_valid": "its time has not begun",
        "other_ca": "an authority that nobody knows has issued it",
        "self_signed": "nobody but itself has issued it",
        "wrong_purpose": "it is for the other side: a client's for servers, a server's for clients",
        "missing_intermediate": "issued by an intermediate authority that is not in the file",
        "no_san": "it has its name as CN only, no subjectAltName",
        "other_name": "it is for another name",
        "ec_key": "it has an EC key",
        "ed25519_key": "it has an Ed25519 key",
        "other_key": "the key file has the key of another certificate",
        "passphrase": "the key file is protected by a passphrase",
        "readable_key": "everybody can read the key file",
        "garbage": "the certificate file has none",
    }
)
"""Kinds of defects, and what each is."""


@frozen(kw_only=True)
class Issued:
    """A certificate that was issued, and where its files are.

    :ivar cert: path of the certificate, with intermediates if there are any.
    :ivar key: path of its key.
    :ivar ca: path of the authority's certificate, to be believed.
    """

    name: str
    cert: str
    key: str
    ca: str
    certificate: x509.Certificate = field(repr=False)
    private_key: Key = field(repr=False)


class PKI:
    """An authority and what it issues.

    Names may be used again: the files are replaced at once, as in a renewal.

    :param folder: where files are written; made if it is not there.
    :param name: the CN of the authority.
    :param now: present time, Unix seconds; certificates are valid from a day before
        until ten years after. OpenSSL judges by the real time, so good ones are valid
        then too.
    :param parent: who issues this one's certificate; see :meth:`intermediate`.
    :param reuse_keys: give clients of the same name the same RSA key again, whichever
        authority of this process issues the certificate. Making such a key takes long.
    :ivar ca: path of the authority's certificate.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str = "Test CA",
        *,
        now: Callable[[], float] = time.time,
        parent: PKI | None = None,
        reuse_keys: bool = False,
    ) -> None:
        self._folder = Path(folder).absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._now = now
        self._reuse_keys = reuse_keys
        above: Authority | None = None if parent is None else parent._issuer
        made = self._make_authority(name, above)
        self._issuer: Authority = made
        self._root: Authority = made
        if parent is None or above is None:
            file = self._folder / f"{name.replace(' ', '-').lower()}.pem"
            self.ca = write_file(file, pem(made.certificate))
        else:
            self._issuer = evolve(made, chain=(made.certificate, *above.chain))
            self._root = parent._root
            self.ca = parent.ca

    def intermediate(self, name: str = "Test Issuing CA") -> PKI:
        """Return an authority below this one; what it issues shows its certificate too.

        Its files are in the same folder, and :attr:`ca` is that of the root.
        """
        return PKI(self._folder, name, now=self._now, parent=self, reuse_keys=self._reuse_keys)

    def client(self, name: str, *, seconds: float | None = None) -> Issued:
        """Issue a certificate for a service or a caller, such as ``sre.choria``.

        :param seconds: of validity from now.
        """
        wanted = self._request(name, [name], _CLIENT, seconds)
        return self._issue(self._issuer, self._rsa_key(name), wanted, name)

    def server(self, name: str, *others: str, seconds: float | None = None) -> Issued:
        """Issue a certificate for a broker, given as name or address.

        :param others: further names and addresses that it is for.
        :param seconds: of validity from now.
        """
        wanted = self._request(name, [name, *others], (*_SERVER, *_CLIENT), seconds)
        return self._issue(self._issuer, make_ec_key(), wanted, name)

    def defective_client(self, defect: str, name: str) -> Issued:
        """Issue a client's certificate with one of the :data:`DEFECTS`."""
        wanted = self._request(name, [name], _CLIENT, None)
        return self._defective(defect, wanted, _SERVER, self._rsa_key)

    def defective_server(self, defect: str, name: str, *others: str) -> Issued:
        """Issue a server's certificate with one of the :data:`DEFECTS`."""
        wanted = self._request(name, [name, *others], _SERVER, None)
        return self._defective(defect, wanted, _CLIENT, _ec_key)

    def revoke(self, *issued: Issued, file: str = "crl.pem", seconds: float = 30 * DAY) -> str:
        """Write a list of withdrawn certificates of this authority; return its path.

        :param issued: all that are withdrawn; each list replaces the one before.
        :param seconds: until the next list is due.
        """
        now = self._now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._issuer.certificate.subject)
            .last_update(time_of(now - DAY))
            .next_update(time_of(now + seconds))
        )
        for each in issued:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(each.certificate.serial_number)
                .revocation_date(time_of(now - DAY))
                .build()
            )
        crl = builder.sign(self._issuer.key, hashes.SHA256())
        return write_file(self._folder / file, crl.public_bytes(Encoding.PEM))

    def puppet_layout(self, *issued: Issued) -> str:
        """Copy certificates and keys into Puppet's layout; return its directory."""
        ssl_dir = self._folder / "puppet"
        for folder in (ssl_dir / "certs", ssl_dir / "private_keys"):
            folder.mkdir(parents=True, exist_ok=True)
        write_file(ssl_dir / "certs" / "ca.pem", Path(self.ca).read_bytes())
        for each in issued:
            file = f"{each.name}.pem"
            write_file(ssl_dir / "certs" / file, Path(each.cert).read_bytes())
            write_file(ssl_dir / "private_keys" / file, Path(each.key).read_bytes(), 0o600)
        return str(ssl_dir)

    def nats_config(self, server: Issued, *, verify: bool = True, more: str = "") -> str:
        """Return the ``tls`` block of a real nats-server that shows this certificate.

        :param verify: want a certificate of this authority from clients.
        :param more: lines to add to the block, such as ``handshake_first: true``.
        """
        lines = [
            f'cert_file: "{server.cert}"',
            f'key_file: "{server.key}"',
            f'ca_file: "{self.ca}"',
            f"verify: {str(verify).lower()}",
            "timeout: 5",
            more,
        ]
        return "\n    ".join(["tls {", *lines]) + "\n}\n"

    def broker_tls(self, server: Issued, *, verify: bool = True) -> BrokerSideTLS:
        """Return what makes a :class:`~backplane.testing.FakeBroker` speak TLS.

        :param verify: want a certificate of this authority from clients.
        """
        roots = [self._root.certificate] if verify else []
        chain = x509.load_pem_x509_certificates(Path(server.cert).read_bytes())
        return BrokerSideTLS(chain, server.private_key, roots)

    def _defective(
        self,
        defect: str,
        wanted: Request,
        others: tuple[x509.ObjectIdentifier, ...],
        make: Callable[[str], Key],
    ) -> Issued:
        if defect not in DEFECTS:
            raise ValueError(f"{defect!r} is not one of {', '.join(DEFECTS)}")
        now, file = self._now(), f"{wanted.name}-{defect}"
        issuer: Authority | None = self._issuer
        changes: dict[str, Any] = {
            "expired": {"begin": now - 30 * DAY, "end": now - DAY},
            "not_yet_valid": {"begin": now + DAY, "end": now + 30 * DAY},
            "wrong_purpose": {"purposes": others},
            "no_san": {"names": ()},
            "other_name": {
                "name": f"other-{wanted.name}",
                "names": tuple(f"other-{each}" for each in wanted.names if not address_of(each)),
            },
        }
        wanted = evolve(wanted, **changes.get(defect, {}))
        if defect == "other_ca":
            issuer = self._make_authority("Other CA", None)
        elif defect == "self_signed":
            issuer = None
        elif defect == "missing_intermediate":
            issuer = self._make_authority("Missing CA", self._issuer)
        if defect == "ec_key":
            make = _ec_key
        elif defect == "ed25519_key":
            make = _ed25519_key
        issued = self._issue(issuer, make(wanted.name), wanted, file)
        if defect == "other_key":
            write_file(Path(issued.key), key_pem(make(f"not {wanted.name}")), 0o600)
        elif defect == "passphrase":
            write_file(Path(issued.key), key_pem(issued.private_key, b"secret"), 0o600)
        elif defect == "readable_key":
            write_file(Path(issued.key), key_pem(issued.private_key), 0o644)
        elif defect == "garbage":
            write_file(Path(issued.cert), b"This is no certificate.\n")
        return issued

    def _request(
        self,
        name: str,
        names: list[str],
        purposes: tuple[x509.ObjectIdentifier, ...],
        seconds: float | None,
    ) -> Request:
        begin, end = self._validity()
        if seconds is not None:
            end = self._now() + seconds
        return Request(name=name, names=tuple(names), purposes=purposes, begin=begin, end=end)

    def _validity(self) -> tuple[float, float]:
        """Return a time that has the present in it, ours and the real one."""
        times = (self._now(), time.time())
        return min(times) - DAY, max(times) + _YEARS

    def _rsa_key(self, name: str) -> Key:
        return rsa_key_of(name) if self._reuse_keys else make_rsa_key()

    def _issue(self, issuer: Authority | None, key: Key, wanted: Request, file: str) -> Issued:
        certificate = make_certificate(issuer, key, wanted)
        chain = issuer.chain if issuer is not None else ()
        return Issued(
            name=wanted.name,
            cert=write_file(self._folder / f"{file}.pem", pem(certificate, *chain)),
            key=write_file(self._folder / f"{file}.key", key_pem(key), 0o600),
            ca=self.ca,
            certificate=certificate,
            private_key=key,
        )

    def _make_authority(self, name: str, above: Authority | None) -> Authority:
        key, (begin, end) = make_ec_key(), self._validity()
        wanted = Request(name=name, begin=begin, end=end, authority=True)
        return Authority(make_certificate(above, key, wanted), key)


def _ec_key(name: str) -> Key:
    return make_ec_key()


def _ed25519_key(name: str) -> Key:
    return ed25519.Ed25519PrivateKey.generate()
