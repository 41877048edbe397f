"""What this machine is called."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from backplane import host
from backplane.host import host_identity


class IdentityTests(SynchronousTestCase):
    """Host name, resolver, facter."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.named("web1", "web1")
        self.patch(os, "environ", {"PATH": str(self.folder)})
        self.patch(host, "FACTER_PATH", str(self.folder))

    def named(self, short: str, full: str) -> None:
        """Let the system say these."""
        self.patch(socket, "gethostname", lambda: short)
        self.patch(socket, "getfqdn", lambda name="": full)

    def facter(self, script: str) -> None:
        """Install a program of that name."""
        path = self.folder / "facter"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def test_full(self) -> None:
        """A host name with a domain is it, and nobody else is asked."""
        self.named("web1.example.net", "other.example.net")
        self.facter("echo never.example.net")
        self.assertEqual(host_identity(), "web1.example.net")

    def test_resolver(self) -> None:
        """The resolver knows the domain; "localhost" is none."""
        self.named("web1", "web1.example.net")
        self.assertEqual(host_identity(), "web1.example.net")

    def test_facter(self) -> None:
        """Facter is asked where there is one, and only then."""
        self.named("web1", "localhost.localdomain")
        self.assertEqual(host_identity(), "web1")
        self.facter("test $1 = networking.fqdn && echo web1.example.org")
        self.assertEqual(host_identity(), "web1.example.org")

    def test_bad_facter(self) -> None:
        """One that fails, says nothing, or nonsense, or hangs, is as good as none."""
        self.named("web1", "localhost")
        self.patch(host, "FACTER_TIMEOUT", 0.2)
        for script in ("exit 1", "true", "echo no such fact", "exec sleep 60", "kill $$"):
            self.facter(script)
            self.assertEqual(host_identity(), "web1", script)
        self.facter("")
        (self.folder / "facter").write_text("no program")
        self.assertEqual(host_identity(), "web1")
