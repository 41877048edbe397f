"""Files that logging in to brokers needs: whether they are good, and for how long. Pure but
for looking at them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from backplane.cli.doctor.dates import day, time_of
from backplane.cli.doctor.files import changeable, readable_fix
from backplane.cli.doctor.findings import Finding, failed, ok, warning
from backplane.cli.doctor.party import Party
from backplane.client.accounting import ExitCode
from backplane.config.rules import why_not_readable
from backplane.nats.credentials import Credentials, CredsFile, UserJWT
from backplane.nats.errors import BadCredentials

__all__ = ["check_login"]

SOON: Final = 3600.0
"""Seconds before the end of a JWT from which that is told; they are often renewed daily."""

_CHECK: Final = "login"
_CAUSE: Final = ExitCode.CREDENTIALS


def check_login(party: Party, now: float) -> Iterator[Finding]:
    """Look at the files, and at what is in them.

    :param now: Unix time.
    """
    missing = False
    for setting, path in party.login_files.items():
        check = f"file.{setting.rpartition('.')[2]}"
        if (why := why_not_readable(path)) is not None:
            missing = True
            yield failed(check, f"{setting}: {path}, {why}", readable_fix(path, setting), _CAUSE)
        else:
            yield from _modes(check, path)
    if party.login is not None and not missing:
        yield _content(party.login, " and ".join(party.login_files), now)


def _modes(check: str, path: str) -> Iterator[Finding]:
    if os.name == "nt":
        return
    mode = stat.S_IMODE(os.stat(path).st_mode)
    trouble = list(changeable(check, path, mode, True))
    if mode & (stat.S_IROTH | stat.S_IWGRP) and not trouble:
        done = "read" if mode & stat.S_IROTH else "changed"
        text = f"{path} can be {done} by others (mode {mode:04o}, wanted 0600)"
        trouble.append(warning(check, text, f"chmod 0600 {path}"))
    yield from trouble or [ok(check, f"{path} is readable, mode {mode:04o}")]


def _content(login: Credentials, settings: str, now: float) -> Finding:
    try:
        login.check()
        claims = login.claims() if isinstance(login, CredsFile | UserJWT) else None
    except BadCredentials as error:
        return failed(_CHECK, str(error), f"correct what {settings} names", _CAUSE)
    if claims is None:
        return ok(_CHECK, f"{settings}: good")
    who = f"the JWT of user {claims.name!r} ({claims.subject[:8]}…)"
    if claims.expires is None:
        return ok(_CHECK, f"{who} is valid for ever")
    until, fix = day(time_of(claims.expires)), "get a new one from whoever has the account's key"
    if claims.expires <= now:
        return failed(_CHECK, f"{who} expired on {until}", fix, _CAUSE)
    if claims.expires - now < SOON:
        return warning(_CHECK, f"{who} expires on {until}", fix)
    return ok(_CHECK, f"{who} is valid until {until}")
