"""Files: whether they are there, who may read and change them, now and as another user.

Pure but for looking at them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from backplane.cli.doctor.accounts import (
    READ,
    WRITE,
    Account,
    Obstacle,
    obstacle,
    this_account,
)
from backplane.cli.doctor.findings import Finding, failed, ok, skipped, warning
from backplane.cli.doctor.party import Party
from backplane.client.accounting import ExitCode
from backplane.config.rules import why_not_readable, why_not_writable
from backplane.security.pemfiles import mode_warning

__all__ = ["changeable", "check_account", "check_audit", "check_files", "readable_fix"]


def check_files(party: Party) -> Iterator[Finding]:
    """Look at the files that the configuration names, as this user."""
    if party.files is not None:
        cause = ExitCode.CREDENTIALS
        for name in ("ca", "cert", "key"):
            setting = str(getattr(party.settings, name))
            path = str(getattr(party.files, name))
            if (why := why_not_readable(path)) is not None:
                fix = readable_fix(path, setting)
                yield failed(f"file.{name}", f"{setting}: {path}, {why}", fix, cause)
            else:
                yield from _modes(f"file.{name}", path, private=name == "key")
    if party.crl is not None:
        yield from _plain("file.crl", "management.tls.crl", party.crl, False)
    for setting, (path, written) in party.further.items():
        yield from _plain(f"file.{setting.rpartition('.')[2]}", setting, path, written)
    for path in party.sources:
        yield from _modes("file.configuration", path, quiet=True)


def _plain(check: str, setting: str, path: str, written: bool) -> Iterator[Finding]:
    why = (why_not_writable if written else why_not_readable)(path)
    if why is not None:
        fix = _writable_fix(path) if written else readable_fix(path, setting)
        yield failed(check, f"{setting}: {path}, {why}", fix, ExitCode.USAGE)
    elif written and not os.path.exists(path):
        yield ok(check, f"{path} is not there yet, and can be made")
    else:
        yield from _modes(check, path)


def readable_fix(path: str, setting: str) -> str:
    """Return what to do about a file that cannot be read."""
    if os.path.exists(path) and not os.path.isdir(path):
        return f"run as a user who may read it, or let this one read it: ls -l {path}"
    return f"put the file there, or correct {setting}"


def _writable_fix(path: str) -> str:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return f"mkdir -p {folder}, and let the service's user write there"
    return f"let the service's user write there: ls -ld {folder} {path}"


def _modes(
    check: str, path: str, *, private: bool = False, quiet: bool = False
) -> Iterator[Finding]:
    """Say who else can change a file, and, of a key, who can read it."""
    if os.name == "nt":
        yield skipped(check, f"{path}: there are no modes of files here")
        return
    found = os.stat(path)
    mode = stat.S_IMODE(found.st_mode)
    trouble = list(changeable(check, path, mode, private))
    if private and not trouble and (text := mode_warning(path)) is not None:
        trouble.append(warning(check, text, f"chmod 0600 {path}"))
    yield from trouble
    if not trouble and not quiet:
        yield ok(check, f"{path} is readable, mode {mode:04o}")


def changeable(check: str, path: str, mode: int, private: bool) -> Iterator[Finding]:
    """Say who else can change or replace a file."""
    cause = ExitCode.FAILED
    if mode & stat.S_IWOTH:
        yield failed(check, f"everybody can change {path} (mode {mode:04o})", _own(path), cause)
    elif mode & stat.S_IWGRP and not private:
        yield warning(check, f"a group can change {path} (mode {mode:04o})", f"chmod g-w {path}")
    folder = os.path.dirname(os.path.realpath(path))
    try:
        around = stat.S_IMODE(os.stat(folder).st_mode)
    except OSError:
        return
    if around & stat.S_IWOTH and not around & stat.S_ISVTX:
        text = f"everybody can replace {path}: {folder} has mode {around:04o}"
        yield failed(check, text, f"chmod o-w {folder}", cause)


def _own(path: str) -> str:
    return f"chmod go-w {path}"


def check_account(party: Party, account: Account | None) -> Iterator[Finding]:
    """Say what the user could not read at a renewal that the service becomes.

    :param account: as ``--uid`` and ``--gid`` say; ``None`` without them.
    """
    check = "renewal"
    if account is None:
        yield skipped(
            check,
            "no --uid: does the service become another user, who must read renewed files?",
            "give --uid and --gid as twistd gets them",
        )
        return
    wanted: dict[str, tuple[str, bool]] = {}
    if party.files is not None:
        wanted = {name: (getattr(party.files, name), False) for name in ("ca", "cert", "key")}
    if party.crl is not None:
        wanted["crl"] = (party.crl, False)
    for setting, path in party.login_files.items():
        wanted[setting.rpartition(".")[2]] = (path, False)
    for setting, each in party.further.items():
        wanted[setting.rpartition(".")[2]] = each
    kept: dict[Obstacle, list[str]] = {}
    for name, (path, written) in wanted.items():
        target = path if os.path.exists(path) or not written else os.path.dirname(path)
        if os.path.exists(target):  # what is missing is told already
            found = obstacle(target, account, WRITE if written else READ)
            if found is not None:
                kept.setdefault(found, []).append(name)
    for found, names in kept.items():
        written = any(wanted[name][1] for name in names)
        why = "written from its start on" if written else "so a renewed one would not be taken"
        told = f"{found.reason}; the service runs as {account.name}: {', '.join(names)}, {why}"
        yield failed(check, told, _grant(found, account))
    if not wanted:
        yield skipped(check, "the configuration names no files")
    elif not kept:
        yield ok(check, f"{account.name} may use {', '.join(wanted)}")


def _grant(found: Obstacle, account: Account) -> str | None:
    if not found.bits:
        return None
    return f"chgrp {account.group} {found.path} && chmod g+{found.bits} {found.path}"


def check_audit(party: Party, account: Account | None) -> Iterator[Finding]:
    """Say whether the audit log could be written, and its state file made beside it."""
    config = party.config
    if config is None:
        return
    check = "audit"
    if config.audit is None:
        yield skipped(check, "no audit log is configured", "management.audit.logfile: PATH")
        return
    path = config.audit.logfile
    folder, name = os.path.split(path)
    who = account if account is not None else this_account()
    trouble = False
    if (why := why_not_writable(path)) is not None:
        trouble = True
        yield failed(check, f"{path}, {why}", _writable_fix(path))
    elif who is not None:
        chain = os.path.join(folder, f".{name}.chain")
        # What is there is written, what is not must be made.
        targets = {each if os.path.exists(each) else folder: each for each in (chain, path)}
        for target, each in targets.items():
            if (found := obstacle(target, who, WRITE)) is not None:
                trouble = True
                what = each if target == each else f"{each} cannot be made"
                fix = f"chown {who.name} {found.path}" if found.bits else None
                yield failed(check, f"{what}: {found.reason}", fix)
    if not trouble and os.name != "nt" and os.path.isdir(folder):
        for finding in changeable(check, folder, stat.S_IMODE(os.stat(folder).st_mode), False):
            trouble = True
            yield finding
    if not trouble:
        required = (
            "what cannot be written is refused"
            if config.audit.required
            else ("not required: changes go on when it cannot be written")
        )
        state = "can be written" if os.path.exists(path) else "is not there yet, and can be made"
        yield ok(check, f"{path} {state}; {required}")
