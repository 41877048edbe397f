"""Good inputs for every layer, out of the captured messages and the truth tables."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.vectors_support import VECTORS

__all__ = [
    "certificates",
    "inner_documents",
    "payloads",
    "secure_documents",
    "table",
]

PKI: Final = VECTORS / "pki"

MOST: Final = 120
"""Inputs of one kind: many captured messages are much alike."""


def _spread(items: list[Any]) -> list[Any]:
    return items[:: max(1, len(items) // MOST)]


@cache
def payloads(kind: str) -> tuple[bytes, ...]:
    """Return captured messages.

    :param kind: ``request`` or ``reply``.
    """
    found: dict[bytes, None] = {}
    for pattern in ("insecure/*.json", "secure/*.json", "ruby/*.json"):
        for path in sorted(VECTORS.glob(pattern)):
            for message in json.loads(path.read_text())["messages"]:
                payload = message["payload"].encode()
                if b"choria:transport:1" in payload and f":{kind}:1" in _secure(payload):
                    found[payload] = None
    return tuple(_spread(list(found)))


def _secure(payload: bytes) -> str:
    return base64.b64decode(json.loads(payload)["data"]).decode()


@cache
def secure_documents(kind: str) -> tuple[bytes, ...]:
    """Return the secure documents of the captured messages."""
    return tuple(_secure(each).encode() for each in payloads(kind))


@cache
def inner_documents(kind: str) -> tuple[str, ...]:
    """Return the texts of the captured requests or replies."""
    return tuple(json.loads(each)["message"] for each in secure_documents(kind))


@cache
def bodies(kind: str) -> tuple[str, ...]:
    """Return what agents were asked, or what they said."""
    return tuple(json.loads(each)["message"] for each in inner_documents(kind))


@cache
def certificates() -> tuple[str, ...]:
    """Return the certificates and chains of the captures, as PEM."""
    paths = [*PKI.glob("*.pem"), *PKI.glob("defective/*.pem"), *VECTORS.glob("ruby/pki/*.pem")]
    return tuple(path.read_text() for path in sorted(paths))


@cache
def table(name: str) -> Any:
    """Return a truth table."""
    return json.loads((VECTORS / "tables" / f"{name}.json").read_text())


def configurations() -> tuple[Path, ...]:
    """Return the files that the captured programs were configured with."""
    folder = VECTORS / "config"
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file())
