"""Reading all that a secure mode stands on: authorities, our certificate, our key."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Final

import attrs
from cryptography.hazmat.primitives import hashes

from backplane.security.certificates import describe
from backplane.security.chains import Authorities, load_authorities
from backplane.security.pemfiles import KeyPair, load_key_pair, mode_warning
from backplane.security.providers import TLSFiles, puppet_files, puppet_ssl_dir
from backplane.security.tls import BrokerTLS

__all__ = ["Keys", "find_puppet_files", "load_keys"]

SOON: Final = timedelta(days=14)
"""How long before its end a certificate is mentioned, or a fifth of its whole time."""


@attrs.frozen(kw_only=True, eq=False)
class Keys:
    """What was read.

    :ivar authorities: whom we believe.
    :ivar pair: who we are.
    :ivar tls: makes connections to brokers secure with both.
    :ivar warnings: what is lawful and hardly meant.
    """

    authorities: Authorities
    pair: KeyPair
    tls: BrokerTLS
    warnings: tuple[str, ...] = ()

    def same_for_brokers(self, other: Keys) -> bool:
        """Whether a connection made with the other would be like one made with these."""
        return self._shown() == other._shown()

    def _shown(self) -> tuple[str, frozenset[bytes]]:
        certificates = self.authorities.certificates
        return self.pair.pem, frozenset(each.fingerprint(hashes.SHA256()) for each in certificates)

    def overdue(self, now: float) -> tuple[str, ...]:
        """Return what is to be said at a time: what expires, has expired or is missing.

        :param now: Unix time.
        """
        at = datetime.fromtimestamp(now, timezone.utc)
        own = self.pair.chain[0]
        begin, end = own.not_valid_before_utc, own.not_valid_after_utc
        said = []
        if at >= end:
            said.append(f"our certificate {describe(own)} expired on {end:%Y-%m-%d %H:%M} UTC")
        elif at >= end - min(SOON, (end - begin) / 5):
            said.append(f"our certificate {describe(own)} expires on {end:%Y-%m-%d %H:%M} UTC")
        elif at < begin:
            said.append(f"our certificate {describe(own)} is not valid before {begin:%Y-%m-%d}")
        return (*said, *self.authorities.warnings(now))


def load_keys(
    files: TLSFiles,
    settings: TLSFiles,
    *,
    crl: str | None = None,
    crl_setting: str = "crl",
    legacy: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Keys:
    """Read files.

    :param settings: the keys of a configuration that name them, for errors.
    :param crl: file with revocation lists, if there is one.
    :param legacy: take brokers' certificates without alternative names by their CN.
    :param warn: told of such brokers.
    :raises ConfigError: with the mistakes in them.
    """
    authorities = load_authorities(files.ca, crl, ca_setting=settings.ca, crl_setting=crl_setting)
    pair = load_key_pair(
        files.cert, files.key, certificate_setting=settings.cert, key_setting=settings.key
    )
    mode = mode_warning(files.key)
    return Keys(
        authorities=authorities,
        pair=pair,
        tls=BrokerTLS(authorities.certificates, pair, legacy=legacy, warn=warn),
        warnings=(mode,) if mode else (),
    )


def find_puppet_files(ssl_dir: str | None, certname: str) -> tuple[str, TLSFiles]:
    """Return where Puppet keeps the files of a name: the directory, and in it the files.

    :param ssl_dir: when it is not the one that Puppet has for the user we are.
    """
    home = os.path.expanduser("~")
    uid = os.geteuid() if hasattr(os, "geteuid") else None
    folder = os.path.expanduser(ssl_dir) if ssl_dir else puppet_ssl_dir(uid, home)
    return folder, puppet_files(folder, certname)
