"""Whether a user of this machine may read or write a file, by owner, group and mode.

For a service that starts as root and then becomes another: it must still be able
to read its files when they are renewed. Access lists beyond the modes are not looked at.
Pure but for looking at files and the list of users.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, Final

import attrs

__all__ = [
    "READ",
    "WRITE",
    "Account",
    "Obstacle",
    "obstacle",
    "owner_of",
    "read_account",
    "this_account",
]

READ: Final = 4
WRITE: Final = 2
_SEARCH: Final = 1


@attrs.frozen
class Account:
    """A user as ``twistd`` becomes him.

    :ivar gids: of all his groups.
    :ivar group: name of the first of them.
    """

    name: str
    uid: int
    gids: frozenset[int]
    group: str = ""


@attrs.frozen
class Obstacle:
    """What keeps an account from a file.

    :ivar path: the file, or a folder on the way to it.
    :ivar reason: a sentence.
    :ivar bits: that its group lacks, such as ``r``; empty where that is not the reason.
    """

    path: str
    reason: str
    bits: str = ""


def read_account(user: str | None, group: str | None) -> Account:
    """Return who ``twistd --uid USER --gid GROUP`` becomes.

    :param user: name or number; the present user when ``None``.
    :param group: name or number; the user's own group when ``None``.
    :raises ValueError: for users and groups that do not exist.
    """
    try:
        import grp
        import pwd
    except ImportError:
        raise ValueError("there are no users and groups of Unix here") from None
    uid = os.getuid() if user is None else _number(user, lambda name: pwd.getpwnam(name).pw_uid)
    if uid is None:
        raise ValueError(f"there is no user {user!r}")
    try:
        name, own = pwd.getpwuid(uid).pw_name, pwd.getpwuid(uid).pw_gid
    except (KeyError, OverflowError):
        # twistd looks up the groups of the user by name, and fails as well.
        raise ValueError(f"there is no user {user!r}") from None
    gid = own if group is None else _number(group, lambda name: grp.getgrnam(name).gr_gid)
    if gid is None:
        raise ValueError(f"there is no group {group!r}")
    if user is None:
        # Only the group is changed; further groups stay.
        return Account(name, uid, frozenset((gid, *os.getgroups())), _group(gid))
    return Account(name, uid, frozenset(os.getgrouplist(name, gid)), _group(gid))


def this_account() -> Account | None:
    """Return who this process is; ``None`` where there are no such users."""
    if not hasattr(os, "geteuid"):
        return None
    uid = os.geteuid()
    gid = os.getegid()
    return Account(_user(uid), uid, frozenset((gid, *os.getgroups())), _group(gid))


def _number(text: str, look_up: Callable[[str], int]) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return look_up(text)
    except (KeyError, ValueError):
        return None


def obstacle(
    path: str, account: Account, want: int, status: Callable[[str], os.stat_result] = os.stat
) -> Obstacle | None:
    """Return what keeps an account from a file, or ``None`` when nothing does.

    Every folder on the way must let it through, links followed.

    :param want: :data:`READ` or :data:`WRITE`.
    """
    real = os.path.realpath(path)
    folders = []
    folder = os.path.dirname(real)
    while folder not in folders:
        folders.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(folders):
        try:
            found = status(folder)
        except OSError as error:
            return Obstacle(folder, f"{folder}: {error.strerror}")
        if not _allowed(found, account, _SEARCH):
            reason = f"{account.name} may not enter {folder} ({owner_of(found)})"
            return Obstacle(folder, reason, "x")
    try:
        found = status(real)
    except OSError as error:
        return Obstacle(real, f"{real}: {error.strerror}")
    if _allowed(found, account, want):
        return None
    verb = "read" if want == READ else "write"
    bits = "r" if want == READ else "wx" if stat.S_ISDIR(found.st_mode) else "w"
    return Obstacle(real, f"{account.name} may not {verb} {real} ({owner_of(found)})", bits)


def _allowed(found: os.stat_result, account: Account, want: int) -> bool:
    if account.uid == 0:
        return True
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == account.uid:
        mode >>= 6
    elif found.st_gid in account.gids:
        mode >>= 3
    return bool(mode & want)


def owner_of(found: os.stat_result) -> str:
    """Return mode, owner and group, as ``mode 0600, root:root``."""
    return f"mode {stat.S_IMODE(found.st_mode):04o}, {_user(found.st_uid)}:{_group(found.st_gid)}"


def _user(uid: int) -> str:
    return _name("pwd", "getpwuid", uid)


def _group(gid: int) -> str:
    return _name("grp", "getgrgid", gid)


def _name(module: str, function: str, number: int) -> str:
    try:
        found: Any = getattr(__import__(module), function)(number)
    except (ImportError, KeyError):
        return str(number)
    return str(found[0])
