"""Who an operator is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.client.credentials import client_certname, load_credentials
from backplane.config.client import load_client_config
from backplane.errors import ConfigError
from backplane.testing import PKI

HOST = "desk.example.net"


class NameTests(SynchronousTestCase):
    """The name in his certificate."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.pki = PKI(self.folder, reuse_keys=True)
        self.file = self.folder / "client.cfg"

    def config(self, *lines: str) -> Any:
        """Return a configuration."""
        self.file.write_text("\n".join(("plugin.choria.middleware_hosts = b:4222", *lines)))
        return load_client_config(str(self.file), home="/", cwd="/", env={})

    def name(self, uid: int, *lines: str, **environ: str) -> str:
        """Return the name of a user."""
        self.patch(os, "geteuid", lambda: uid)
        return client_certname(self.config(*lines), HOST, environ)

    def test_file(self) -> None:
        """With files that are named: the user's, for root the identity."""
        provider = "plugin.security.provider = file"
        self.assertEqual(self.name(1000, provider, USER="bob"), "bob.mcollective")
        self.assertEqual(self.name(0, provider, USER="root"), HOST)
        for uid in (0, 1000):
            given = self.name(uid, provider, USER="bob", MCOLLECTIVE_CERTNAME="sre.choria")
            self.assertEqual(given, "sre.choria")

    def test_puppet(self) -> None:
        """With Puppet's: likewise, but root's own one is his if it is there."""
        folder = f"plugin.choria.ssldir = {self.folder / 'ssl'}"
        self.assertEqual(self.name(1000, folder, USER="bob"), "bob.mcollective")
        self.assertEqual(self.name(0, folder, USER="root"), HOST)
        self.assertEqual(self.name(0, folder), HOST)
        given = self.name(0, folder, USER="root", MCOLLECTIVE_CERTNAME="sre.choria")
        self.assertEqual(given, "sre.choria")
        ssl_dir = self.pki.puppet_layout(self.pki.client("root.mcollective"))
        folder = f"plugin.choria.ssldir = {ssl_dir}"
        self.assertEqual(self.name(0, folder, USER="root"), "root.mcollective")

    def test_loaded(self) -> None:
        """Root signs with the certificate of the host where that is the one there is."""
        self.patch(os, "geteuid", lambda: 0)
        ssl_dir = self.pki.puppet_layout(self.pki.client(HOST))
        config = self.config(f"plugin.choria.ssldir = {ssl_dir}")
        credentials = load_credentials(config, HOST, {"USER": "root"})
        self.assertEqual(credentials.caller_id, f"choria={HOST}")
        self.assertIn("BEGIN CERTIFICATE", credentials.signer.sign(b"x")[1])

    def test_missing(self) -> None:
        """The error says which file is missing, and how to get one."""
        self.patch(os, "geteuid", lambda: 1000)
        config = self.config(f"plugin.choria.ssldir = {self.folder / 'ssl'}")
        error = self.assertRaises(ConfigError, load_credentials, config, HOST, {"USER": "bob"})
        self.assertIn("ssl/certs/ca.pem", str(error))
        self.assertIn("backplane enroll", str(error))
