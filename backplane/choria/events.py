"""Lifecycle events: CloudEvents 1.0 documents that say a node started, lives, stops.

Source: Choria protocol 8.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any, Literal

from backplane.choria import subjects
from backplane.choria.documents import dumps

__all__ = ["lifecycle_event"]

_SOURCE = "io.choria.lifecycle"


def lifecycle_event(
    kind: Literal["startup", "alive", "shutdown"],
    *,
    identity: str,
    component: str,
    version: str,
    now: float,
    event_id: str | None = None,
) -> tuple[str, bytes]:
    """Return subject and payload of a lifecycle event.

    :param version: in ``startup`` and ``alive``; ``shutdown`` has none.
    :param now: Unix time.
    :param event_id: UUID with dashes; a new one by default.
    """
    protocol = f"{_SOURCE}.v1.{kind}"
    name = event_id if event_id is not None else str(uuid.uuid4())
    data: dict[str, Any] = {
        "protocol": protocol,
        "id": name,
        "identity": identity,
        "component": component,
        "timestamp": int(now),
    }
    if kind != "shutdown":
        data["version"] = version
    moment = datetime.fromtimestamp(int(now), timezone.utc)
    document = {
        "data": data,
        "id": name,
        "source": _SOURCE,
        "specversion": "1.0",
        "subject": identity,
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "type": protocol,
        "datacontenttype": "application/json",
    }
    return subjects.event(kind, component), dumps(document).encode()
