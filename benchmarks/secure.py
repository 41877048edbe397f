"""The secure mode, in this process: verifying, opening, answering, refusing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from backplane.choria import rpc, v1
from backplane.choria.message import Reply, Request
from backplane.security.signing import InsecureSigner, SecureSigner, SecureVerifier
from benchmarks.measure import Case, Work, cpu_of
from benchmarks.memory import MemoryService
from benchmarks.messages import (
    IDENTITY,
    Forger,
    Strangers,
    facts_of,
    key_pair,
    make_request,
    make_verifier,
    sealed,
    subject_of,
)

__all__ = ["cases", "yardstick"]

CALLER: Final = "sre.choria"

TWO_KB: Final = {f"fact_number_{number}": f"the value of it, {number}" for number in range(47)}
"""Facts of two kilobytes as JSON."""


def yardstick() -> Case:
    """Return what all is compared with: one bare RSA-2048 verification."""
    pair = key_pair(CALLER)
    data = b"x" * 350
    signature = pair.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    key = pair.key.public_key()

    def work(count: int) -> Callable[[], object]:
        def timed() -> None:
            for _ in range(count):
                key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())

        return timed

    return Case(name="one bare RSA-2048 verification", measure=cpu_of(work), count=400)


def cases() -> list[Case]:
    """Return the rows that need nothing outside this process."""
    warm = make_verifier()
    secure = MemoryService(make_verifier(), TWO_KB)
    plain = MemoryService(None, TWO_KB)
    large = MemoryService(make_verifier(), facts_of(4000))
    good, new = SecureSigner(key_pair(CALLER)), _Sender()
    rows: Sequence[tuple[str, Work, int, float | None]] = (
        ("verify, certificate cached", _verify(warm, good), 200, None),
        ("verify, certificate new", _verify(warm, new), 100, None),
        ("open a signed request, certificate cached", _open(warm, good), 200, 3.5),
        ("open a signed request, certificate new", _open(warm, new), 100, 8),
        ("open and reply with 2 KB of facts", _open(warm, good, _reply), 200, 5),
        ("service: signed ping in to reply out", _service(secure, good), 200, 12),
        ("service: unsigned ping in to reply out", _service(plain, InsecureSigner()), 200, None),
        ("service: signed info, 4,000 facts", _service(large, good, "info"), 10, None),
        ("flood: bad signature", _flood(secure, Forger(key_pair(CALLER))), 200, None),
        ("flood: unknown CA, ever new certificates", _flood(secure, Strangers(CALLER)), 60, None),
    )
    return [
        Case(name=name, measure=cpu_of(work), count=count, aim=aim)
        for name, work, count, aim in rows
    ]


class _Sender(SecureSigner):
    """Signs as people do, and sends each time another text of the same certificate."""

    def __init__(self) -> None:
        super().__init__(key_pair(CALLER))
        self._texts = itertools.count()

    def sign(self, message: bytes) -> tuple[str, str]:
        signature, pubcert = super().sign(message)
        return signature, f"{next(self._texts):08}\n{pubcert}"


def _signed(count: int, signer: v1.Signer) -> list[bytes]:
    return [sealed(make_request(CALLER), signer) for _ in range(count)]


def _verify(verifier: SecureVerifier, signer: v1.Signer) -> Work:
    def work(count: int) -> Callable[[], object]:
        now = time.time()
        caller = f"choria={CALLER}"
        opened = [
            v1.decode_secure_request(v1.decode_transport(payload).data)
            for payload in _signed(count, signer)
        ]

        def timed() -> None:
            for each in opened:
                verifier.verify(each.message, each.signature, each.pubcert, caller, now)

        return timed

    return work


def _open_one(payload: bytes, verifier: SecureVerifier, now: float) -> Request:
    transport = v1.decode_transport(payload)
    secure = v1.decode_secure_request(transport.data)
    request = v1.decode_request(secure.message)
    verifier.verify(secure.message, secure.signature, secure.pubcert, request.caller_id, now)
    v1.request_body(request.message)
    return request


def _open(
    verifier: SecureVerifier,
    signer: v1.Signer,
    then: Callable[[Request], object] = lambda request: None,
) -> Work:
    """Open a request through all its layers, verify it, and perhaps answer."""

    def work(count: int) -> Callable[[], object]:
        now = time.time()
        payloads = _signed(count, signer)

        def timed() -> None:
            for payload in payloads:
                then(_open_one(payload, verifier, now))

        return timed

    return work


def _reply(request: Request) -> None:
    reply = Reply(
        message=rpc.encode_reply("info", 0, "OK", {"facts": TWO_KB}),
        request_id=request.request_id,
        sender_id=IDENTITY,
        agent=request.agent,
        time=request.time,
    )
    v1.encode_transport(v1.seal_reply(reply), sender=IDENTITY)


def _service(service: MemoryService, signer: v1.Signer, action: str = "ping") -> Work:
    def work(count: int) -> Callable[[], object]:
        messages = _messages(service, signer, count, action)

        def timed() -> None:
            for message in messages:
                service.receive(message)
            answered = service.replies()
            if answered != count:
                raise RuntimeError(f"{count} asked, {answered} answered: {service.counters}")

        return timed

    return work


def _flood(service: MemoryService, signer: v1.Signer) -> Work:
    def work(count: int) -> Callable[[], object]:
        messages = _messages(service, signer, count, "ping")

        def timed() -> None:
            for message in messages:
                service.receive(message)
            if service.replies():
                raise RuntimeError("an invalid request was answered")

        return timed

    return work


def _messages(service: MemoryService, signer: v1.Signer, count: int, action: str) -> list[bytes]:
    requests = [make_request(CALLER, action) for _ in range(count)]
    return [service.message(subject_of(request), sealed(request, signer)) for request in requests]
