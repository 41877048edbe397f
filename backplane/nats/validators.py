"""Subjects: grammar and matching; and txnats's attrs validators."""

from __future__ import annotations

from typing import Any, Final

from backplane.nats.errors import BadSubject

__all__ = [
    "check_callable",
    "check_length",
    "check_publish_subject",
    "check_queue",
    "check_subscribe_subject",
    "subject_matches",
]

MAX_SUBJECT: Final = 3500
"""Longest subject with reply or queue group, in bytes: servers close the connection
after a control line of more than 4,096."""

_FORBIDDEN: Final = frozenset(" \t\r\n\x00\x0b\x0c")


def _checked(subject: object, what: str) -> list[str]:
    if not isinstance(subject, str):
        raise BadSubject(f"{what} must be text, not {type(subject).__name__}")
    if not subject:
        raise BadSubject(f"{what} is empty")
    if not _FORBIDDEN.isdisjoint(subject):
        raise BadSubject(f"{what} {subject[:80]!r} has blanks or control characters")
    if not subject.isascii():
        try:
            subject.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise BadSubject(f"{what} {subject[:80]!r} cannot be encoded") from None
    tokens = subject.split(".")
    if "" in tokens:
        raise BadSubject(f"{what} {subject[:80]!r} has an empty token")
    return tokens


def check_publish_subject(subject: object, what: str = "the subject") -> None:
    """Check a subject to publish to, or a reply subject.

    This is the defence against commands smuggled into the stream.

    :raises BadSubject: when it is empty, has blanks, empty tokens or wildcards.
    """
    tokens = _checked(subject, what)
    if "*" in tokens or ">" in tokens:
        raise BadSubject(f"{what} {str(subject)[:80]!r} has a wildcard")


def check_subscribe_subject(subject: object) -> None:
    """Check a subject to subscribe to.

    :raises BadSubject: when it is empty, has blanks or empty tokens, or ``>`` inside.
    """
    tokens = _checked(subject, "the subject")
    if ">" in tokens[:-1]:
        raise BadSubject(f"the subject {str(subject)[:80]!r} has > before its end")


def check_queue(queue: object) -> None:
    """Check the name of a queue group; :raises BadSubject: with the reason."""
    if not isinstance(queue, str) or not queue or not _FORBIDDEN.isdisjoint(queue):
        raise BadSubject(f"{queue!r} cannot be a queue group")


def check_length(subject: str, other: str | None) -> None:
    """Check that a subject fits into a control line with its reply or queue group.

    :raises BadSubject: with more than :data:`MAX_SUBJECT` bytes.
    """
    length = sum(len(text.encode("utf-8", "surrogateescape")) for text in (subject, other or ""))
    if length > MAX_SUBJECT:
        raise BadSubject(f"{subject[:80]!r} and what goes with it have {length} bytes")


def subject_matches(pattern: str, subject: str) -> bool:
    """Say whether a subscription to ``pattern`` gets messages for ``subject``."""
    wanted = pattern.split(".")
    tokens = subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(
        want in ("*", token) for want, token in zip(wanted, tokens, strict=True)
    )


def is_instance_of_nats_protocol(instance: Any, attribute: Any, value: Any) -> None:
    """Check an attribute that holds a protocol (txnats); :raises ValueError: otherwise."""
    from backplane.nats.protocol import NatsProtocol

    if not isinstance(value, NatsProtocol):
        raise ValueError(f"{attribute.name} must be a NatsProtocol, not {type(value).__name__}")


def is_subject(instance: Any, attribute: Any, value: Any) -> None:
    """Check an attribute that holds a subject (txnats); :raises ValueError: otherwise.

    Unlike a server it refuses a wildcard that is only part of a token.
    """
    tokens = _checked(value, attribute.name)
    for token in tokens:
        if len(token) > 1 and (token.startswith(("*", ">")) or token.endswith(("*", ">"))):
            raise BadSubject(f"{value!r}: a wildcard is a whole token")
    check_subscribe_subject(value)


def is_subject_id(instance: Any, attribute: Any, value: Any) -> None:
    """Check an attribute that holds a subscription id (txnats); :raises ValueError: otherwise."""
    number = isinstance(value, int) and not isinstance(value, bool)
    if not (number or (isinstance(value, str) and value and _FORBIDDEN.isdisjoint(value))):
        raise ValueError(f"{value!r} cannot be a subscription id")


def check_callable(given: object) -> None:
    """Check what is to be called later; :raises TypeError: when it cannot be."""
    if not callable(given):
        raise TypeError(f"{type(given).__name__} cannot be called")
