"""Layers of others' certificates beside those of callers: a broker's, and a Puppet CA's answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from backplane.errors import ConfigError
from backplane.security.csr import is_request_of
from backplane.security.issued import check_certificate, read_bundle
from backplane.security.servernames import server_name_indication, verify_name
from tests.fuzz.corpus import certificates
from tests.fuzz.engine import Layer
from tests.fuzz.layers_certificates import NOW, authorities, issued_with, known_extensions
from tests.security.authority import common, vector_key

__all__ = ["LAYERS"]

HOSTS: Final = ("broker.example.net", "127.0.0.1", "::1", "b_1.example.net.", "sre.choria")

PIN: Final = "ab" * 32


def _broker(data: bytes) -> object:
    """Compare a broker's certificate with all kinds of names; one of them may be its own."""
    certificate = issued_with(data)
    fitting = []
    for host in HOSTS:
        for legacy in (False, True):
            with suppress(ValueError):
                verify_name(certificate, host, legacy)
                fitting.append(host)
    if not fitting:
        raise ValueError("for nobody")
    return fitting


def _host(text: str) -> object:
    return server_name_indication(text), verify_name(_plain(), text, legacy=True)


@cache
def _plain() -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificates()[0].encode())


def _answer(data: bytes) -> object:
    """Read what a Puppet CA answers, whichever was asked for."""
    errors = []
    for read in (_bundle, _certificate, _request):
        try:
            read(data)
        except (ValueError, ConfigError) as error:
            errors.append(error)
    if len(errors) == 3:
        raise errors[0]
    return errors


def _bundle(data: bytes) -> None:
    read_bundle(data, "the authority").check_pin(PIN)


def _certificate(data: bytes) -> None:
    key = vector_key("sre.choria")
    check_certificate(data, authorities=authorities(), name="sre.choria", key=key, now=NOW)


def _request(data: bytes) -> None:
    is_request_of(data, vector_key("sre.choria"))


def _answers() -> Sequence[bytes]:
    builder = x509.CertificateSigningRequestBuilder().subject_name(common("sre.choria"))
    asked = builder.sign(vector_key("sre.choria"), hashes.SHA256()).public_bytes(Encoding.PEM)
    return [asked, *(each.encode() for each in certificates())]


_WORDS: Final = (
    *("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "MII", "====", "\n"),
    *("-----BEGIN CERTIFICATE REQUEST-----\n", "-----END CERTIFICATE REQUEST-----\n"),
)

LAYERS: Final = (
    Layer(
        name="names of brokers",
        read=_broker,
        errors=(ValueError,),
        seeds=known_extensions,
        words=("\x82", "\x87", "\x30", "broker.example.net", "*.", "\x7f\x00\x00\x01", "xn--"),
        binary=True,
        weight=2,
    ),
    Layer(
        name="names of hosts",
        read=_host,
        errors=(ValueError,),
        seeds=lambda: (*HOSTS, "sre.choria", "xn--bcher-kva.example", "a..b", "[::1]", "1.2.3"),
        words=("broker", ".", "example", "-", "_", "xn--", "::", "127", "%25", "é", "ß", "*"),
        weight=1,
    ),
    Layer(
        name="answers of a Puppet CA",
        read=_answer,
        errors=(ValueError, ConfigError),
        seeds=_answers,
        words=_WORDS,
        binary=True,
        weight=2,
    ),
)
