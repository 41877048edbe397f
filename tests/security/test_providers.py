"""Where the files of a scheme lie."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.security.providers import TLSFiles, puppet_files, puppet_ssl_dir


class PuppetTests(SynchronousTestCase):
    """Puppet's layout."""

    def test_directory(self) -> None:
        """Root's is the system's; everybody else's is at home, also where there are no uids."""
        mine = "/home/ann/.puppetlabs/etc/puppet/ssl"
        for uid, home, expected in (
            (0, "/root", "/etc/puppetlabs/puppet/ssl"),
            (1000, "/home/ann", mine),
            (None, "/home/ann", mine),
        ):
            self.assertEqual(puppet_ssl_dir(uid, home), expected)

    def test_files(self) -> None:
        """Authorities, certificate and key by the certname."""
        self.assertEqual(
            puppet_files("/ssl", "app1.example.net"),
            TLSFiles(
                ca="/ssl/certs/ca.pem",
                cert="/ssl/certs/app1.example.net.pem",
                key="/ssl/private_keys/app1.example.net.pem",
            ),
        )
