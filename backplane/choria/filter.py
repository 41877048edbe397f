"""Filters: which instances a request is for."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["FactFilter", "Filter"]


@attrs.frozen
class FactFilter:
    """One fact test; all three are text, as on the wire.

    :ivar operator: one of ``== != =~ < <= > >=``.
    """

    fact: str
    operator: str
    value: str


@attrs.frozen(kw_only=True)
class Filter:
    """The filter of a request (``envelope.filter``). All kinds present must match.

    :ivar identity: OR; ``agent``, ``cf_class`` and ``fact``: AND.
    :ivar compound: lists of maps as on the wire, ``[[{"expr": TEXT}]]``.
    """

    fact: tuple[FactFilter, ...] = ()
    cf_class: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    compound: tuple[tuple[Mapping[str, str], ...], ...] = ()
