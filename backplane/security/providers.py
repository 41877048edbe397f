"""Where keys and certificates lie: the schemes ``file`` and ``puppet``.

Source: Choria protocol 2.1 to 2.3. Pure: the user and his home are arguments.
"""

from __future__ import annotations

import os.path

import attrs

__all__ = ["TLSFiles", "puppet_files", "puppet_ssl_dir"]


@attrs.frozen(kw_only=True)
class TLSFiles:
    """Paths.

    :ivar ca: bundle of the authorities; ``cert`` may hold intermediates.
    """

    ca: str
    cert: str
    key: str


def puppet_ssl_dir(uid: int | None, home: str) -> str:
    """Return Puppet's directory of a user; root's is the system's."""
    if uid == 0:
        return "/etc/puppetlabs/puppet/ssl"
    return os.path.join(home, ".puppetlabs/etc/puppet/ssl")


def puppet_files(ssl_dir: str, certname: str) -> TLSFiles:
    """Return the files in Puppet's layout."""
    return TLSFiles(
        ca=os.path.join(ssl_dir, "certs", "ca.pem"),
        cert=os.path.join(ssl_dir, "certs", f"{certname}.pem"),
        key=os.path.join(ssl_dir, "private_keys", f"{certname}.pem"),
    )
