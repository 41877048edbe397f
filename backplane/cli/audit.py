"""``backplane audit verify FILE…``: whether an audit log is what was written."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import click

from backplane.cli.arguments import Spoken
from backplane.cli.console import Console, safe
from backplane.client.accounting import ExitCode
from backplane.security.auditverify import Verdict, verify_files

__all__ = ["audit_command"]

_EPILOG = "Exit codes: 0 every line fits, 2 one does not, 64 usage, or a file cannot be read."


class _Group(Spoken, click.Group):
    """A group whose help, and that of its commands, goes through the console."""

    command_class = Spoken


class _Hash(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A SHA-256 as hexadecimal text."""

    name = "SHA256"

    def convert(self, value: str, param: object, ctx: object) -> str:
        text = value.lower()
        if len(text) != 64 or not set("0123456789abcdef").issuperset(text):
            raise click.UsageError(f"{value[:80]!r} is not a SHA-256: 64 hexadecimal digits")
        return text


@click.group("audit", cls=_Group)
def audit_command() -> None:
    """Verifies audit logs.

    \b
    Examples:
      backplane audit verify /var/log/app/audit.log*
    """


@audit_command.command("verify", epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    type=_Hash(),
    help="A hash kept elsewhere, which must be in the chain",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text")
@click.pass_obj
def verify_command(
    console: Console, /, files: Sequence[str], anchors: Sequence[str], as_json: bool
) -> int:
    """Names the first line of an audit log that does not fit.

    FILE... is the log and its older parts, in any order, plain or compressed by gzip.

    \b
    Examples:
      backplane audit verify /var/log/app/audit.log*
      backplane audit verify /var/log/app/audit.log* --json | jq -r .head
    """
    try:
        verdict = verify_files(files, anchors)
    except OSError as error:
        raise click.UsageError(_unreadable(error)) from None
    code = ExitCode.OK if verdict.fault is None else ExitCode.FAILED
    if as_json:
        document = {"ok": verdict.fault is None, "files": list(files), **attrs.asdict(verdict)}
        console.print_json({**document, "exit_code": int(code)})
        return code
    for line in _describe(verdict):
        console.print(safe(line))
    if verdict.fault is not None:
        console.note(f"backplane: error: {safe(verdict.fault)}", "red")
    return code


def _unreadable(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _describe(verdict: Verdict) -> list[str]:
    """Return what is known, a sentence a line."""
    if not verdict.lines:
        return ["no line fits" if verdict.fault else "there are no lines"]
    what = "lines up to the fault" if verdict.fault else "lines"
    told = [
        f"{what}: {verdict.lines}, from {verdict.first} to {verdict.last}",
        f"numbers {verdict.first_seq} to {verdict.last_seq}, hash of the last {verdict.head}",
    ]
    if not verdict.whole:
        told.append("the chain begins earlier, in files that were not given")
    if verdict.insecure:
        told.append(f"of the insecure mode, names not verified: {verdict.insecure}")
    if verdict.lost:
        told.append(f"could not be written at the time: {verdict.lost}")
    if verdict.torn:
        told.append(f"torn, and noted by the writer: {verdict.torn}")
    return told
