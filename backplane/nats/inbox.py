"""Subjects for answers: names that nobody can guess, below a prefix of the user's choice.

Whoever knows an inbox can send answers to it, so names come from the operating
system's random numbers, and not from the source of a client's jitter, which may be
predictable. A client has one inbox for all its requests; each has a token of its own
below it, so that somebody who answers one cannot answer another.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from os import urandom
from typing import Final

from backplane.nats.errors import BadSubject
from backplane.nats.validators import check_length, check_publish_subject

__all__ = ["DEFAULT_PREFIX", "check_prefix", "new_inbox", "new_token"]

DEFAULT_PREFIX: Final = "_INBOX"

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH: Final = 22  # some 131 bits
_BYTES: Final = 19
_ROOM: Final = 3 * _LENGTH  # for the name, a token and the dots between


def check_prefix(prefix: object) -> str:
    """Check what inboxes begin with.

    :raises BadSubject: for what is no subject to publish to; with ``*`` or ``>`` anywhere,
        which a server would take for itself but other software not; and for what is too long.
    """
    check_publish_subject(prefix, "the inbox prefix")
    text = str(prefix)
    if not {"*", ">"}.isdisjoint(text):
        raise BadSubject(f"the inbox prefix {text[:80]!r} has a wildcard")
    check_length(text, "x" * _ROOM)
    return text


def new_token(source: Callable[[int], bytes] = urandom) -> str:
    """Return letters and digits that cannot be guessed.

    :param source: gives so many random bytes.
    """
    # Some 20 bits more than are needed, so that no letter is likelier than another.
    number = int.from_bytes(source(_BYTES), "big")
    letters = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, 62)
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def new_inbox(prefix: str) -> str:
    """Return a subject of one's own below ``prefix``."""
    return f"{prefix}.{new_token()}"
