"""Lifecycle events, compared with those that real programs published."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, Literal

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.events import lifecycle_event

VECTORS = Path(__file__).parent.parent / "vectors" / "insecure"


def captured() -> list[dict[str, Any]]:
    """Return all captured events."""
    found = []
    for path in sorted(VECTORS.glob("lifecycle-*.json")):
        for message in json.loads(path.read_text(encoding="utf-8"))["messages"]:
            if message["subject"].startswith("choria.lifecycle."):
                found.append(message)
    return found


class LifecycleTests(SynchronousTestCase):
    """Startup, alive, shutdown."""

    def test_captured(self) -> None:
        """Made from the same facts, an event is the captured one, value for value."""
        kinds: dict[str, Literal["startup", "alive", "shutdown"]] = {
            "startup": "startup",
            "alive": "alive",
            "shutdown": "shutdown",
        }
        seen = set()
        for message in captured():
            wanted = json.loads(message["payload"])
            data = wanted["data"]
            kind = kinds[wanted["type"].rpartition(".")[2]]
            subject, payload = lifecycle_event(
                kind,
                identity=data["identity"],
                component=data["component"],
                version=data.get("version", "unused"),
                now=data["timestamp"] + 0.75,
                event_id=data["id"],
            )
            self.assertEqual(subject, message["subject"])
            self.assertEqual(json.loads(payload), wanted)
            seen.add((kind, data["component"]))
        self.assertEqual(
            seen, {(kind, component) for kind in kinds for component in ("backplane", "server")}
        )

    def test_keys(self) -> None:
        """Shutdown has no version; the others do."""
        for kind, more in (("startup", {"version"}), ("alive", {"version"}), ("shutdown", set())):
            _, payload = lifecycle_event(
                kind,  # type: ignore[arg-type]
                identity="app1.example.net",
                component="backplane",
                version="1.2.3",
                now=1535106973.9,
            )
            document = json.loads(payload)
            common = {"protocol", "id", "identity", "component", "timestamp"}
            self.assertEqual(document["data"].keys(), common | more)
            self.assertEqual(document["time"], "2018-08-24T10:36:13Z")
            self.assertEqual(document["data"]["timestamp"], 1535106973)

    def test_ids(self) -> None:
        """Each event has an id of its own, a UUID with dashes, the same inside and outside."""
        ids = set()
        for _ in range(20):
            document = json.loads(
                lifecycle_event("alive", identity="é", component="backplane", version="1", now=0.0)[
                    1
                ]
            )
            self.assertEqual(document["id"], document["data"]["id"])
            self.assertEqual(str(uuid.UUID(document["id"])), document["id"])
            self.assertEqual(document["subject"], "é")
            ids.add(document["id"])
        self.assertEqual(len(ids), 20)
