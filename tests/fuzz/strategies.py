"""What hypothesis makes: JSON documents with known keys, written in odd ways."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from hypothesis import strategies as st

__all__ = ["documents", "values"]

_scalars: Final = (
    st.sampled_from(
        [
            *(None, True, False, 0, -1, 1, 30, 60, 601, 2**31, 2**63, -(2**63), 10**400),
            *(0.0, 60.0, 1e308, math.inf, math.nan, "", "a", "insecure", "{}", "/x/", "a.b"),
            *("\ud800", "\0", "60", "choria=a.choria", "cGluZw==", "a" * 32, "==", "=~", "null"),
        ]
    )
    | st.integers()
    | st.text(max_size=6)
)

# Not st.recursive(), which takes ten times as long.
_shallow: Final = (
    _scalars
    | st.lists(_scalars, max_size=2)
    | st.dictionaries(st.text(max_size=3), _scalars, max_size=2)
)

values: Final[st.SearchStrategy[Any]] = (
    _scalars
    | st.lists(_shallow, max_size=2)
    | st.dictionaries(
        st.sampled_from(["a", "fact", "operator", "value", "expr"]), _shallow, max_size=3
    )
)
"""Any JSON, and numbers that are none."""


def documents(*keys: str, protocol: str | None = None) -> st.SearchStrategy[str]:
    """Return texts of JSON objects.

    :param keys: that are known; there are others too, and these in other case.
    :param protocol: what the key of this name has most of the time.
    """
    names = st.sampled_from([*keys, *keys, *map(str.upper, keys[:3]), "", "x"])
    plain = st.dictionaries(names, values, max_size=6)
    if protocol is None:
        return plain.map(json.dumps)
    heads = st.sampled_from([{"protocol": protocol}] * 4 + [{}])
    return st.tuples(heads, plain).map(lambda pair: json.dumps({**pair[1], **pair[0]}))
