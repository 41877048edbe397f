"""Certificates and keys of our own, as files in PEM form.

Every mistake in them is a :class:`~backplane.errors.ConfigError` that names the
setting and the file; the contents of a key never appear in it. Apart from
reading the files that it is told, pure.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from backplane.errors import ConfigError, Problem
from backplane.security.certificates import (
    MAX_CHAIN,
    MAX_PUBCERT,
    UNREADABLE,
    describe,
    key_problem,
)
from backplane.security.regular import open_regular

__all__ = [
    "KeyPair",
    "load_key_pair",
    "mode_warning",
    "pem_blocks",
    "read_file",
    "read_key",
    "read_key_pair",
]

MAX_FILE: Final = 64 * 1024 * 1024
"""Largest file that is read, in bytes; revocation lists of large sites have some
megabytes."""

# Files of the operator: Python's `re` is good enough.
_BLOCK: Final = re.compile(
    rb"^-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?$(.*?)(?:^-----END \1-----|(?=^-----BEGIN )|\Z)",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen(kw_only=True)
class KeyPair:
    """Who we are: a certificate and its key.

    :ivar key: of the first certificate.
    :ivar chain: the certificate, then its intermediates.
    :ivar pem: the certificates of the file in PEM form, without anything else
        that stands there; what is sent along with what we sign.
    """

    key: rsa.RSAPrivateKey = attrs.field(repr=False)
    chain: tuple[x509.Certificate, ...]
    pem: str


def read_file(path: str, setting: str) -> bytes:
    """Return the content of a file.

    :param path: as configured.
    :param setting: the key it stands under, for errors.
    :raises ConfigError: when it cannot be read.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(setting, why, "a readable file", path)]) from None
    if len(data) > MAX_FILE:
        found = f"more than {MAX_FILE} bytes"
        raise ConfigError([Problem(setting, found, "a smaller file", path)])
    return data


def pem_blocks(data: bytes, labels: Collection[str]) -> list[bytes]:
    """Return the PEM blocks with one of the labels, in order.

    A block without its end line is returned as it stands, so that whoever reads
    it sees that it is damaged rather than that nothing is there. A byte-order mark
    is skipped, line ends become LF.
    """
    return [
        match.group(0).replace(b"\r\n", b"\n") + b"\n"
        for match in _BLOCK.finditer(data.removeprefix(b"\xef\xbb\xbf"))
        if match.group(1).decode() in labels
    ]


def read_key_pair(
    certificate: bytes,
    key: bytes,
    *,
    certificate_setting: str = "cert",
    key_setting: str = "key",
    certificate_path: str | None = None,
    key_path: str | None = None,
) -> KeyPair:
    """Read a certificate, with or without intermediates, and its RSA key.

    :raises ConfigError: for everything that is wrong with either; when both can
        be read, also for a key that is not the certificate's.
    """
    problems: list[Problem] = []
    private: rsa.RSAPrivateKey | None = None
    chain: tuple[x509.Certificate, ...] = ()
    blocks: list[bytes] = []
    try:
        blocks, chain = _read_certificates(certificate)
    except _Unusable as error:
        problems.append(Problem(certificate_setting, error.found, error.wanted, certificate_path))
    try:
        private = _read_key(key)
    except _Unusable as error:
        problems.append(Problem(key_setting, error.found, error.wanted, key_path))
    if private is not None and chain and private.public_key() != chain[0].public_key():
        problems.append(
            Problem(
                key_setting,
                "the key of another certificate",
                f"that of certificate {describe(chain[0])}",
                key_path,
            )
        )
    if problems or private is None:
        raise ConfigError(problems)
    return KeyPair(key=private, chain=chain, pem=b"".join(blocks).decode("ascii"))


def read_key(data: bytes, *, setting: str = "key", path: str | None = None) -> rsa.RSAPrivateKey:
    """Read an RSA key that has no certificate yet.

    :raises ConfigError: when there is none, or one that cannot be used.
    """
    try:
        return _read_key(data)
    except _Unusable as error:
        raise ConfigError([Problem(setting, error.found, error.wanted, path)]) from None


def load_key_pair(
    certificate: str, key: str, *, certificate_setting: str = "cert", key_setting: str = "key"
) -> KeyPair:
    """Read certificate and key from files.

    :param certificate: path.
    :param key: path.
    :raises ConfigError: as :func:`read_key_pair`, and for files that cannot be read.
    """
    found: list[bytes] = []
    problems: list[Problem] = []
    for path, setting in ((certificate, certificate_setting), (key, key_setting)):
        try:
            found.append(read_file(path, setting))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return read_key_pair(
        *found,
        certificate_setting=certificate_setting,
        key_setting=key_setting,
        certificate_path=certificate,
        key_path=key,
    )


def mode_warning(path: str) -> str | None:
    """Say that a key file can be read or changed by others, if it can.

    The owner's group may read it: programs that share a key are put in one.

    :returns: a sentence for the log, or ``None``, also where there are no modes.
    """
    if os.name == "nt":
        return None
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except (OSError, ValueError):
        return None
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        done = "read" if mode & stat.S_IROTH else "changed"
        return f"private key {path} can be {done} by others (mode {mode:04o}, wanted 0600)"
    return None


class _Unusable(Exception):
    def __init__(self, found: str, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(found)


def _read_certificates(data: bytes) -> tuple[list[bytes], tuple[x509.Certificate, ...]]:
    wanted = "a certificate in PEM form"
    blocks = pem_blocks(data, ("CERTIFICATE", "X509 CERTIFICATE"))
    if not blocks:
        raise _Unusable("no certificate", wanted)
    if len(blocks) > MAX_CHAIN or sum(map(len, blocks)) > MAX_PUBCERT:
        raise _Unusable(f"{len(blocks)} certificates", "one with its intermediates")
    chain = []
    for place, block in enumerate(blocks, 1):
        try:
            # Some readers skip blanks beyond ASCII; the text is sent as it stands, to others.
            block.decode("ascii")
            chain.append(x509.load_pem_x509_certificate(block))
        except UNREADABLE:
            raise _Unusable(f"certificate {place}, which is damaged", wanted) from None
    try:
        problem = key_problem(chain[0].public_key())
    except UNREADABLE:
        problem = "a key that cannot be read"
    if problem is not None:
        raise _Unusable(f"a certificate with {problem}", "a certificate with an RSA key")
    return blocks, tuple(chain)


def _read_key(data: bytes) -> rsa.RSAPrivateKey:
    wanted = "an RSA private key in PEM form, without passphrase"
    labels = ("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
    blocks = pem_blocks(data, labels)
    if not blocks:
        raise _Unusable("no private key", wanted)
    block = blocks[0]
    if b"ENCRYPTED" in block[:200]:  # as label (PKCS#8) or as Proc-Type (PKCS#1)
        raise _Unusable("a key protected by a passphrase", wanted)
    try:
        key = load_pem_private_key(block, None)
        problem = key_problem(key.public_key())
    except UNREADABLE:
        raise _Unusable("a private key that is damaged", wanted) from None
    if problem is not None or not isinstance(key, rsa.RSAPrivateKey):
        raise _Unusable(str(problem), wanted)
    return key
