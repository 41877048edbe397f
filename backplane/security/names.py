"""Identity, certname and caller id: three names that are easily mixed up.

The *identity* is where a node is reached (node subject, ``senderid``), the
*certname* is the name in a certificate, the *caller id* is ``choria=`` and a
certname (``envelope.callerid``). Pure: environment, user and host name are
arguments. Source: Choria protocol 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from backplane.errors import DecodeError

__all__ = [
    "MAX_CALLER_ID",
    "MAX_IDENTITY",
    "caller_id_for",
    "certname_of",
    "default_certname",
    "default_identity",
    "valid_certname",
    "valid_identity",
]

MAX_CALLER_ID: Final = 512
"""Longest caller id, in characters. DNS names end at 253; what is longer would
only fill logs and tables that are kept by caller."""

MAX_IDENTITY: Final = 255
"""Longest identity, in characters; it becomes part of a NATS subject, whose
line a broker bounds at 4,096 bytes."""

# Python's `re` is good enough here: the patterns are ours and linear.
_CALLER_ID: Final = re.compile(r"[a-z]+=([\w.\-]+)", re.ASCII)
_NAME: Final = re.compile(r"[\w.\-]+", re.ASCII)


def certname_of(caller_id: str) -> str:
    """Return the certname that a caller id claims.

    Upstream looks for the form at the beginning only, so that
    ``choria=bob,choria=eve`` counts as ``bob`` in one place and is matched as
    a whole in another. Here the whole text has the form or is refused.

    :param caller_id: for example ``choria=sre.choria``.
    :raises DecodeError: reason ``bad_callerid``.
    """
    if len(caller_id) > MAX_CALLER_ID:
        raise DecodeError(
            "bad_callerid",
            "request",
            f"caller id of {len(caller_id)} characters, at most {MAX_CALLER_ID} are taken",
        )
    match = _CALLER_ID.fullmatch(caller_id)
    if match is None:
        raise DecodeError(
            "bad_callerid",
            "request",
            f"caller id {caller_id[:60]!r} is not of the form choria=name",
        )
    return match.group(1)


def caller_id_for(certname: str) -> str:
    """Return the caller id of a certname: ``choria=`` and the name.

    :raises ValueError: when the certname is not one that peers accept.
    """
    caller_id = f"choria={certname}"
    if not valid_certname(certname):
        raise ValueError(
            f"certificate name {certname[:60]!r}: only ASCII letters, digits, '_', '.' and '-' "
            f"are allowed, {MAX_CALLER_ID - len('choria=')} characters at most"
        )
    return caller_id


def valid_certname(text: str) -> bool:
    """Say whether ``text`` can be the name of a caller."""
    return len(text) + len("choria=") <= MAX_CALLER_ID and _NAME.fullmatch(text) is not None


def valid_identity(text: str) -> bool:
    r"""Say whether ``text`` can be an identity: ``^[\w.\-]+$`` in ASCII.

    Dots at the ends and two in a row are refused too: they would make empty
    tokens in the node's subject, which brokers refuse.
    """
    return len(text) <= MAX_IDENTITY and _NAME.fullmatch(text) is not None and all(text.split("."))


def default_identity(hostname: str, lookups: Iterable[Callable[[], str | None]] = ()) -> str:
    """Return the identity of a node that was given none.

    The host name when it holds at least two dots; else the first usable answer
    of ``lookups`` (reverse DNS of the first IPv4 address, then facter's
    ``networking.fqdn``), which are called only when needed; else the part of
    the host name before its first dot.

    :param hostname: as the operating system says.
    :param lookups: each returns a name or ``None``.
    :raises ValueError: when not even the host name is a valid identity.
    """
    if hostname.count(".") >= 2 and valid_identity(hostname):
        return hostname
    for lookup in lookups:
        name = (lookup() or "").strip().rstrip(".")
        if valid_identity(name):
            return name
    short = hostname.split(".", 1)[0]
    if not valid_identity(short):
        raise ValueError(
            f"the host name {hostname[:60]!r} cannot be an identity "
            "(ASCII letters, digits, '_', '.' and '-'); please configure one"
        )
    return short


def default_certname(
    identity: str,
    *,
    environ: Mapping[str, str],
    uid: int | None,
    provider: str = "file",
    server: bool = False,
) -> str:
    """Return the certificate name that a process uses when none is configured.

    :param identity: this node's identity.
    :param environ: environment variables; ``MCOLLECTIVE_CERTNAME`` wins over all.
    :param uid: effective user id; ``None`` where there is none (Windows).
    :param provider: ``file`` (root uses the identity, others ``USER.mcollective``)
        or ``puppet`` (clients always use ``USER.mcollective``, servers the identity).
    :param server: whether the process serves requests rather than makes them.
    :raises ValueError: when provider ``puppet`` needs ``USER`` and it is not set.
    """
    given = environ.get("MCOLLECTIVE_CERTNAME", "")
    if given:
        return given
    user = environ.get("USER", "")
    if uid is None:  # Windows has another word for it
        user = user or environ.get("USERNAME", "")
    if provider == "puppet":
        if server:
            return identity
        if not user:
            raise ValueError(
                "could not determine client identity, ensure USER environment variable is set"
            )
        return f"{user}.mcollective"
    if uid is not None and uid != 0 and user:
        return f"{user}.mcollective"
    return identity
