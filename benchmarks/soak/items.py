"""The items that are published, and what is read of them at the other end.

Reading is not left to the code that has written: the documents are JSON within base64.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import attrs

__all__ = ["SUBJECT", "Item", "text_of"]

SUBJECT: Final = "soak"
"""Items go to ``soak.plain`` and ``soak.durable``."""

PADDING: Final = "Ünder way. " * 12
"""What follows the numbers; not only ASCII."""


@attrs.frozen
class Item:
    """One item.

    :ivar service: the number of its service.
    :ivar number: its place among the service's items of its kind, from 0.
    """

    service: int
    number: int

    @classmethod
    def read(cls, document: bytes) -> Item:
        """Return the item of a document.

        :raises ValueError: when it is none of ours, or not whole.
        """
        try:
            secure = _inner(base64.b64decode(json.loads(document)["data"], validate=True))
            service, number, rest = _inner(secure["message"])["message"].split(" ", 2)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no item: {error!r}") from None
        if rest != PADDING:
            raise ValueError("the item is not whole")
        return cls(int(service), int(number))


def text_of(item: Item) -> str:
    """Return the data of an item."""
    return f"{item.service} {item.number} {PADDING}"


def _inner(text: bytes | str) -> Any:
    return json.loads(text)
