"""Files that one management has read, for another one that may not."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from backplane import ConfigError, Management
from backplane.testing import PKI


class SourcesTests(SynchronousTestCase):
    """As when a program has given up its privileges."""

    def test_handed_on(self) -> None:
        """What was read before is enough, and mistakes are found all the same."""
        pki = PKI(Path(self.mktemp()).absolute(), reuse_keys=True)
        issued = pki.client("app1.example.net")
        config = {
            "name": "app",
            "identity": "app1.example.net",
            "brokers": ["b:4222"],
            "tls": {"scheme": "file", "ca": issued.ca, "cert": issued.cert, "key": issued.key},
        }
        first = Management(config)
        os.unlink(issued.key)
        self.assertRaises(ConfigError, Management, first.config)
        second = Management(first.config, sources=first.sources)
        trust = second.sources.trust.value
        self.assertIn("BEGIN CERTIFICATE", trust.signer.sign(b"x")[1])
        self.assertRaises(ConfigError, Management, {**config, "name": "App"}, sources=first.sources)
