"""Addresses of brokers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.config.brokers import check_broker


class BrokerTests(SynchronousTestCase):
    """What people write for a broker."""

    def test_addresses(self) -> None:
        """Nothing is guessed, and credentials are not shown."""
        good = (
            "b",
            "b:4222",
            " b:4222 ",
            "nats://b",
            "TLS://b:1",
            "tls://b:65535/",
            "nats://u:p@b:4222",
            "token@b",
            "[::1]:4222",
            "nats://[fe80::1%eth0]",
            "127.0.0.1:4222",
        )
        for entry in good:
            self.assertEqual(check_broker(entry), None, entry)
        bad = (
            "",
            " ",
            "b:",
            "b:0",
            "b:70000",
            "b:42222x",
            "b: 4222",
            "b:-1",
            "b:٣",
            "::1",
            "[b]:4222",
            "[::1",
            "http://b",
            "nats://",
            "a,b",
            "a b",
            "nats://u:sesame@b:x",
            "u:sesame@b:x",
            "sesame://x@b:0",
            "u:sesame://x@b:0",
            "ftp://u:sesame@b",
        )
        for entry in bad:
            wrong = check_broker(entry)
            assert wrong is not None, entry
            if not entry.startswith("sesame://"):
                self.assertNotIn("sesame", "".join(wrong))
