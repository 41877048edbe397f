"""All layers, and how many inputs each gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.fuzz import (
    layers_certificates,
    layers_files,
    layers_filters,
    layers_messages,
    layers_nats,
    layers_peers,
    layers_security,
    layers_service,
)
from tests.fuzz.engine import Layer

__all__ = ["LAYERS", "shares"]

LAYERS: Final[Sequence[Layer]] = (
    *layers_nats.LAYERS,
    *layers_messages.LAYERS,
    *layers_filters.LAYERS,
    *layers_service.LAYERS,
    *layers_certificates.LAYERS,
    *layers_peers.LAYERS,
    *layers_security.LAYERS,
    *layers_files.LAYERS,
)


def shares(inputs: int, layers: Sequence[Layer] = LAYERS) -> Mapping[str, int]:
    """Divide a number of inputs among layers, by their weights, none left over."""
    total = sum(layer.weight for layer in layers)
    found, before, sum_ = {}, 0, 0
    for layer in layers:
        sum_ += layer.weight
        until = inputs * sum_ // total
        found[layer.name] = until - before
        before = until
    return found
