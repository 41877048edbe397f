"""One altered form of a signed request, and how such forms are written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from tests.altering import SUBJECT, altered

__all__ = ["Row", "fitting", "form", "heard"]


@attrs.frozen
class Row:
    """One altered form.

    :ivar name: how it is altered.
    :ivar reason: what it is counted under; empty where the caller gets a reply.
    :ivar words: how the line of the log goes on, or the text of the reply.
    :ivar make: makes the message.
    :ivar subject: that it is sent to.
    :ivar status: of the reply, where there is one.
    """

    name: str
    reason: str
    words: str
    make: Callable[[], bytes]
    subject: str = SUBJECT
    status: int | None = None


def fitting(line: str, row: Row) -> bool:
    """Say whether a line of the service's log states the row's reason."""
    if row.reason == "filtered":
        return line == f"not for this node: {row.words}"
    return line.startswith(f"message dropped, {row.reason}: {row.words}")


def form(name: str, reason: str, words: str, subject: str = SUBJECT, **changes: Any) -> Row:
    """Return a form that is dropped in silence.

    :param changes: as :func:`~tests.altering.altered` takes them.
    """
    return Row(name, reason, words, lambda: altered(**changes), subject)


def heard(name: str, words: str, status: int = 4, **changes: Any) -> Row:
    """Return a form that its caller is told of, as he is known by then."""
    return Row(name, "", words, lambda: altered(**changes), status=status)
