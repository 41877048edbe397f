"""Errors of an application as text that callers, operators and logs may see.

Drivers and libraries like to quote the URL or the settings that they were given. What
might be a secret takes the rest of the text with it: a text too short does less harm.
What is left is on one line and bounded.
"""

from __future__ import annotations

from typing import Final

from twisted.python.failure import Failure

from backplane.choria.masking import MASK
from backplane.errors import LocalError
from backplane.logs import printable

__all__ = ["describe"]

MAX_ERROR: Final = 300
"""Characters of an error's text that are shown."""

_HINTS: Final = (
    *("pass", "pwd", "pw", "secret", "token", "key", "cred", "auth", "cookie", "dsn", "jwt"),
    *("bearer", "otp", "hmac", "psk", "session", "connectionstring"),
)
"""What the name of a secret has in it, without signs between words."""

_NO_SECRETS: Final = ("error", "exception")
"""Ends of names that are those of errors: ``KeyError: 'x'`` is shown."""

_SIGNS: Final = "=:"


def describe(error: BaseException | Failure) -> str:
    """Return an error's type and text; never raises.

    Logins of URLs are masked, and all that stands behind ``password=`` and the like. Our
    own errors (:class:`~backplane.errors.LocalError`) say what is wrong without their type.
    """
    value = error.value if isinstance(error, Failure) else error
    name = type(value).__name__
    try:
        text = " ".join(str(value)[: 4 * MAX_ERROR].split())
    except Exception:  # the errors of others may do anything
        return name
    shown = printable(_without_named(_without_logins(text)), MAX_ERROR)
    if shown and isinstance(value, LocalError):
        return shown
    return f"{name}: {shown}" if shown else name


def _without_logins(text: str) -> str:
    """Mask who logs in with what, in URLs."""
    first, *rest = text.split("://")
    return "://".join([first, *map(_without_login, rest)])


def _without_login(part: str) -> str:
    word = part.split(maxsplit=1)[0] if part.strip() and not part[0].isspace() else ""
    at = word.rfind("@")  # a password may have one, and slashes too
    return part if at < 0 else MASK + part[at:]


def _without_named(text: str) -> str:
    """Cut a text after the first name of a secret that has something assigned."""
    for place, char in enumerate(text):
        if char in _SIGNS and _is_secret(_name_before(text, place)):
            return text[: place + 1] + MASK
    return text


def _name_before(text: str, place: int) -> str:
    """Return the name before a sign: letters and digits, without what stands between words."""
    start = end = len(text[:place].rstrip(" '\"`\\])"))
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-_."):
        start -= 1
    return "".join(filter(str.isalnum, text[start:end])).casefold()


def _is_secret(name: str) -> bool:
    return not name.endswith(_NO_SECRETS) and any(hint in name for hint in _HINTS)
