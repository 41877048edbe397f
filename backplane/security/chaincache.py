"""Memory of verified chains, so that a signer's next request costs no chain. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from backplane.security.certificates import VerifiedCertificate

__all__ = ["MAX_CACHED", "MAX_TEXTS", "ChainCache"]

MAX_CACHED: Final = 1024
"""Most certificate texts whose chain is remembered, a few kilobytes each."""

MAX_TEXTS: Final = 4
"""Most texts of one certificate that are remembered."""


class ChainCache:
    """Verified chains by the hash of the text that they came in, newest last.

    The clients of one person send his certificate in different texts (Ruby
    leaves out the last line end), so a certificate may have some entries; but few,
    because anybody can vary the text around a certificate that he has seen, and
    should push out nothing but that.
    """

    def __init__(self, bound: int = MAX_CACHED) -> None:
        """
        :param bound: most texts that are remembered.
        """
        self._bound = bound
        self._entries: OrderedDict[bytes, VerifiedCertificate] = OrderedDict()
        self._digests: dict[str, list[bytes]] = {}

    def get(self, digest: bytes, now: float) -> VerifiedCertificate | None:
        """Return what is remembered of a text, while its whole chain is valid.

        :param digest: SHA-256 of the text.
        :param now: Unix time.
        """
        found = self._entries.get(digest)
        if found is None or not found.not_before <= now < found.not_after:
            return None
        self._entries.move_to_end(digest)
        return found

    def put(self, digest: bytes, verified: VerifiedCertificate) -> None:
        """Remember a chain that was verified, and nothing else."""
        if digest in self._entries:  # outside of its validity, when it was looked up
            self._drop(digest)
        while len(self._digests.get(verified.fingerprint, ())) >= MAX_TEXTS:
            self._drop(self._digests[verified.fingerprint][0])
        while len(self._entries) >= self._bound:
            self._drop(next(iter(self._entries)))
        self._entries[digest] = verified
        self._digests.setdefault(verified.fingerprint, []).append(digest)

    def _drop(self, digest: bytes) -> None:
        fingerprint = self._entries.pop(digest).fingerprint
        left = self._digests[fingerprint]
        left.remove(digest)
        if not left:
            del self._digests[fingerprint]
