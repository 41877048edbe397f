"""The stream that stores the durable items, and what is in it in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.soak.items import SUBJECT
from benchmarks.soak.wire import Wire

__all__ = ["Stream"]

NAME: Final = "SOAK"
_INBOX: Final = "_SOAK"
_BATCH: Final = 1000


class Stream:
    """Asks the broker, each time over a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port

    def make(self) -> None:
        """Make the stream, on disk, with the window of repeats that streams have by default."""
        config = {"name": NAME, "subjects": [f"{SUBJECT}.durable"], "storage": "file"}
        wire = self._wire()
        try:
            _ask(wire, f"STREAM.CREATE.{NAME}", config)
        finally:
            wire.close()

    def read(self) -> Iterator[bytes]:
        """Give all that is in it, in order."""
        wire = self._wire()
        try:
            left = int(_ask(wire, f"STREAM.INFO.{NAME}")["state"]["messages"])
            config = {"ack_policy": "none", "deliver_policy": "all", "mem_storage": True}
            made = _ask(wire, f"CONSUMER.CREATE.{NAME}", {"stream_name": NAME, "config": config})
            request = json.dumps({"batch": _BATCH, "no_wait": True}).encode()
            while left:
                wire.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{NAME}.{made['name']}", request, f"{_INBOX}.b"
                )
                for _ in range(min(left, _BATCH)):
                    got = wire.read()
                    while not got.subject.startswith(f"{SUBJECT}."):
                        got = wire.read()
                    left -= 1
                    yield got.payload
        finally:
            wire.close()

    def _wire(self) -> Wire:
        wire = Wire(self._port)
        wire.subscribe(f"{_INBOX}.>", 1)
        return wire


def _ask(wire: Wire, what: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    body = b"" if document is None else json.dumps(document).encode()
    wire.publish(f"$JS.API.{what}", body, f"{_INBOX}.a")
    got = wire.read()
    while got.subject != f"{_INBOX}.a":
        got = wire.read()
    answer: dict[str, Any] = json.loads(got.payload)
    if "error" in answer:
        raise RuntimeError(f"{what}: {answer['error']}")
    return answer
