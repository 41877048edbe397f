"""Secrets in facts: found by the names of their keys, never shown.

``dbPassword``, ``api-token``, ``AWS_SECRET_ACCESS_KEY`` and ``db.password`` are
taken apart into words; ``passenger`` and ``tokenizer_name`` are other words. All
under such a key is masked. The password of a URL is replaced in any text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

__all__ = ["MASK", "hide", "mask"]

MASK: Final = "********"
"""What stands for a secret."""

MAX_KNOWN: Final = 8192
"""Most keys that are remembered as secret or not."""

MAX_DEPTH: Final = 64
"""Deepest level that is copied; what lies deeper is replaced by the mask."""

# fmt: off
_SECRET: Final = frozenset((
    "pass", "pwd", "pwds", "pw", "passwds", "passwords", "passphrases", "passcode", "secrets",
    "tokens", "apikeys", "credential", "credentials", "creds", "cred", "accesskey", "privatekey",
    "secretkey", "authkey", "sessionkey", "sessionid", "signingkey", "encryptionkey", "masterkey",
    "cookie", "cookies", "dsn", "dsns", "jwt", "bearer", "authorization", "pgpass", "dbpass",
    "userpass", "keytab", "otp", "totp", "hmac", "psk",
))
"""Words that make a key secret."""

_SECRET_ENDS: Final = ("password", "passwd", "passphrase", "secret", "token", "apikey")
"""Ends of words that make a key secret, for names such as ``dbpassword``."""

_SECRET_PAIRS: Final = frozenset((
    "api key", "api keys", "access key", "access keys", "private key", "private keys",
    "secret key", "session key", "session id", "auth key", "signing key", "encryption key",
    "master key", "shared key", "ssl key", "tls key", "account key", "storage key",
    "pass word", "pass phrase", "pass code", "connection string",
))
"""Two words that make a key secret when they stand side by side."""
# fmt: on


class _Names:
    """Says which keys are secret."""

    def __init__(self, extra: Sequence[str], exempt: Sequence[str]) -> None:
        self._extra = [_words(name) for name in extra if name]
        self._whole = {name.casefold() for name in extra}
        self._exempt = {name.casefold() for name in exempt}
        # The keys of facts are the same ones again and again.
        self._word_in = lru_cache(maxsize=MAX_KNOWN)(self._has_secret_word)

    def is_secret(self, key: str, path: str) -> bool:
        if self._exempt or self._whole:
            named = {key.casefold(), path.casefold()}
            if not named.isdisjoint(self._exempt):
                return False
            if not named.isdisjoint(self._whole):
                return True
        return self._word_in(key)

    def _has_secret_word(self, key: str) -> bool:
        words = _words(key)
        for word in words:
            plain = word.rstrip("0123456789")
            if plain in _SECRET or plain.endswith(_SECRET_ENDS):
                return True
        if any(" ".join(pair) in _SECRET_PAIRS for pair in pairwise(words)):
            return True
        return any(_contains(words, wanted) for wanted in self._extra)


_names: Final = lru_cache(maxsize=64)(_Names)


def _contains(words: list[str], wanted: list[str]) -> bool:
    size = len(wanted)
    return bool(size) and any(
        words[start : start + size] == wanted for start in range(len(words) - size + 1)
    )


def _words(key: str) -> list[str]:
    """Take a snake, kebab, dotted or camel case name apart, in lower case."""
    words: list[str] = []
    start = 0
    for at in range(1, len(key) + 1):
        if at < len(key):
            before, char = key[at - 1], key[at]
            after = key[at + 1 : at + 2]
            if char.isalnum() and before.isalnum():
                rises = before.islower() or before.isdigit()
                camel = char.isupper() and (rises or (before.isupper() and after.islower()))
                if not camel:
                    continue
        word = "".join(filter(str.isalnum, key[start:at]))
        start = at
        if word:
            words.append(word.casefold())
    return words


def mask(value: Any, *, extra: Sequence[str] = (), exempt: Sequence[str] = ()) -> Any:
    """Return a copy in which secrets are ``********``.

    Under a secret's key only ``None``, ``True`` and ``False`` stay.

    :param value: plain JSON values.
    :param extra: further names: words of a key, whole keys or dotted paths.
    :param exempt: keys or dotted paths that are never masked.
    """
    return _copy(value, _names(tuple(extra), tuple(exempt)), "", 0, False)


def hide(value: Any, *, extra: Sequence[str] = (), exempt: Sequence[str] = ()) -> Any:
    """Return a copy as :func:`mask` does, but without the keys of secrets.

    For filters, with which a secret could be guessed letter by letter otherwise.
    """
    return _copy(value, _names(tuple(extra), tuple(exempt)), "", 0, True)


def _copy(value: Any, names: _Names, path: str, depth: int, absent: bool) -> Any:
    if isinstance(value, str):
        return _mask_urls(value) if "@" in value and "://" in value else value
    if depth > MAX_DEPTH:
        return MASK
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            if isinstance(key, str) and "@" in key and "://" in key:
                key = _mask_urls(key)
            where = f"{path}.{key}" if path else str(key)
            if not names.is_secret(str(key), where):
                result[key] = _copy(item, names, where, depth + 1, absent)
            elif not absent:
                # An explicit exemption below a secret key does not open it.
                result[key] = item if item is None or isinstance(item, bool) else MASK
        return result
    if isinstance(value, (list, tuple)):
        return [_copy(item, names, path, depth + 1, absent) for item in value]
    return value


def _mask_urls(text: str) -> str:
    """Replace the password of every ``scheme://user:password@host`` in a text."""
    parts = text.split("://")
    return "://".join([parts[0], *_without_passwords(parts[1:])])


def _without_passwords(parts: Iterable[str]) -> list[str]:
    result = []
    for part in parts:
        end = _first(part, " \t\r\n\"'<>")
        authority = _first(part[:end], "/?#")
        user, _, rest = part[:end].partition(":")
        if "@" in part[:authority]:
            end = authority
        elif rest[: authority - len(user) - 1].isdigit():
            # A port, and an "@" somewhere in the path.
            end = 0
        # Otherwise somebody did not escape a "/" in a password.
        login, at, host = part[:end].rpartition("@")
        user, _, password = login.partition(":")
        if at and password and _first(user, "/?#") == len(user):
            part = f"{user}:{MASK}@{host}{part[end:]}"
        result.append(part)
    return result


def _first(text: str, marks: str) -> int:
    """Return where the first of ``marks`` stands, or the length of the text."""
    return min((at for mark in marks if (at := text.find(mark)) >= 0), default=len(text))
