"""``backplane enroll``: a key, and its certificate by a Puppet authority."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import click
from twisted.internet.defer import CancelledError, Deferred

from backplane.cli.arguments import Seconds, Spoken
from backplane.cli.console import Console, safe
from backplane.cli.driver import run
from backplane.cli.faults import Fault
from backplane.client.accounting import ExitCode
from backplane.client.enrolment import (
    Enrolled,
    Enrolment,
    EnrolmentError,
    Watcher,
)
from backplane.client.puppetca import PuppetAuthority, read_address
from backplane.config.client import CONTEXT, ClientConfig, find_config, load_client_config
from backplane.errors import ConfigError
from backplane.host import home_folder, host_identity
from backplane.security.csr import Request, check_name, fingerprint_shown, read_fingerprint
from backplane.security.issued import Bundle, facts_of
from backplane.security.keys import find_puppet_files
from backplane.security.names import default_certname
from backplane.security.ssldir import SSLDir

__all__ = ["enroll_command"]

WAIT: Final = 1800.0
"""Seconds to wait for the signature, as Choria does."""

_EPILOG: Final = (
    "Exit codes: 0 the certificate is there, 2 the CA refuses, or has what cannot be used, "
    "3 not signed yet, 5 not the CA that was asked for, 64 usage, 69 CA unreachable, "
    "77 files unusable, 130 interrupted."
)


class _Patience(Seconds):
    """A time that may be none."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        return 0.0 if value in ("0", 0.0) else super().convert(value, param, ctx)


class _Fingerprint(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A SHA-256, with colons or without."""

    name = "SHA256"

    def convert(self, value: str, param: object, ctx: object) -> str:
        try:
            return read_fingerprint(value)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


@attrs.frozen(kw_only=True)
class Plan:
    """What the operator means.

    :ivar ca: host and port.
    :ivar pin: fingerprint that the authority must have, or ``None``.
    :ivar hints: what the command line must be told to find the files, one by one.
    """

    ca: tuple[str, int]
    certname: str
    ssl_dir: str
    wait: float
    pin: str | None
    hints: tuple[str, ...] = ()


@click.command("enroll", cls=Spoken, epilog=_EPILOG)
@click.option("--ca", metavar="HOST[:PORT]", help="The Puppet CA, puppet:8140 by default")
@click.option("--ca-fingerprint", "pin", type=_Fingerprint(), help="Enroll with this CA only")
@click.option("--certname", metavar="NAME", help="Instead of the user's or the host's")
@click.option("--ssl-dir", metavar="DIR", help="Instead of Puppet's directory of the user")
@click.option(
    "--wait", type=_Patience(), default=WAIT, help="For the signature, 30m by default; 0: look once"
)
@click.option("--config", metavar="FILE", help="Configuration file to use")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text")
@click.pass_obj
def enroll_command(console: Console, /, as_json: bool, **given: Any) -> int:
    """Gets a certificate from a Puppet CA.

    Makes a key and a signing request in Puppet's layout, hands the request in, waits until
    it is signed, verifies the certificate and stores it. Run again, it goes on where it was.

    \b
    Examples:
      backplane enroll
      backplane enroll --ca puppet.example.net:8140
    """
    shown = _Shown(console, as_json)
    try:
        plan = _plan(os.environ, **given)
        shown.plan(plan)
        code = run(_begin(plan, shown))
    except Fault as fault:
        return shown.end(fault.text, fault.code)
    return shown.end(None, code)


def _plan(
    environ: Mapping[str, str],
    ca: str | None,
    pin: str | None,
    certname: str | None,
    ssl_dir: str | None,
    wait: float,
    config: str | None,
) -> Plan:
    """Return what is meant; what is not said is in the client's configuration.

    :raises Fault: when that cannot be.
    """
    home = home_folder()
    uid = os.geteuid() if hasattr(os, "geteuid") else None
    path = config or environ.get(CONTEXT) or find_config(home, os.path.exists)[0]
    try:
        settings = (
            load_client_config(path, home=home, cwd=os.getcwd(), env=environ)
            if path
            else ClientConfig()
        )
        raw = settings.raw
        port = raw.get("plugin.choria.puppetca_port") or "8140"
        host = raw.get("plugin.choria.puppetca_host") or "puppet"
        address = read_address(ca) if ca is not None else read_address(f"{host}:{port}")
        # An operator needs no host name, whose lookup may take its time.
        identity = "" if uid else settings.identity or host_identity()
        own = default_certname(identity, environ=environ, uid=uid)
        if certname is None:
            certname = own
            if not certname:
                raise ValueError("no certificate name: USER is not set; give --certname NAME")
        check_name(certname)
        usual, _ = find_puppet_files(raw.get("plugin.choria.ssldir"), certname)
        folder = os.path.abspath(os.path.expanduser(ssl_dir) if ssl_dir else usual)
    except (ConfigError, ValueError, OSError) as error:
        raise Fault(str(error), ExitCode.USAGE) from None
    hints = []
    if certname not in (own, f"{environ.get('USER', '')}.mcollective"):
        hints.append(f"MCOLLECTIVE_CERTNAME={certname} in the environment")
    if folder != os.path.abspath(usual):
        hints.append(f"plugin.choria.ssldir = {folder} in the client's configuration")
    return Plan(
        ca=address,
        certname=certname,
        ssl_dir=folder,
        wait=wait,
        pin=pin,
        hints=tuple(hints),
    )


def _begin(
    plan: Plan, shown: _Shown
) -> Callable[[Any], tuple[Deferred[ExitCode], Callable[[], None]]]:
    """Return what begins with a reactor."""

    def begin(reactor: Any) -> tuple[Deferred[ExitCode], Callable[[], None]]:
        host, port = plan.ca
        authority = PuppetAuthority(reactor, host, port, clock=reactor, warn=shown.warning)
        enrolment = Enrolment(
            authority,
            SSLDir(plan.ssl_dir, plan.certname),
            name=plan.certname,
            pin=plan.pin,
            wait=plan.wait,
            clock=reactor,
            now=time.time,
            watcher=shown,
        )

        async def work() -> ExitCode:
            try:
                shown.enrolled(await enrolment.run())
            except CancelledError:
                text = "interrupted; run this again to go on"
                raise Fault(text, ExitCode.INTERRUPTED) from None
            except EnrolmentError as error:
                raise Fault(error.text, error.code) from None
            return ExitCode.OK

        working = Deferred.fromCoroutine(work())
        return working, working.cancel

    return begin


class _Shown(Watcher):
    """What the operator sees, as text on the way or as one document at the end."""

    def __init__(self, console: Console, as_json: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._document: dict[str, Any] = {}
        self._warnings: list[str] = []
        self._name = ""
        self._ssl_dir = ""
        self._hints: tuple[str, ...] = ()
        self._told = False

    def plan(self, plan: Plan) -> None:
        """This is what is meant."""
        self._name, self._ssl_dir, self._hints = plan.certname, plan.ssl_dir, plan.hints
        self._document |= {"certname": plan.certname, "ssl_dir": plan.ssl_dir}

    def authority(self, bundle: Bundle, where: str, pinned: bool, known: bool) -> None:
        facts = [facts_of(each) for each in bundle.certificates]
        digest = bundle.digests[0]
        self._document["ca"] = {
            "source": where,
            "pinned": pinned,
            "known": known,
            "sha256": digest,
            "certificates": facts,
        }
        self._say(f"CA from {where}")
        for each in facts:
            self._say(f"  {each['subject']}, valid until {each['not_after'][:10]}")
            self._say(f"    SHA-256 {fingerprint_shown(each['sha256'])}")
        if len(facts) > 1:
            self._say("  the whole file")
            self._say(f"    SHA-256 {fingerprint_shown(digest)}")
        if pinned:
            self._say("  as asked for")
        elif not known:
            which = "the root's, or that of the file," if len(facts) > 1 else "it"
            self._say("  taken on trust; to be sure, look it up on the CA")
            self._say(f"  and give {which} as --ca-fingerprint")

    def key(self, path: str, fresh: bool) -> None:
        self._document["key"] = {"path": path, "new": fresh}
        self._say(f"key {path}{', new' if fresh else ', which was there'}")

    def requested(self, request: Request, fresh: bool) -> None:
        self._document["request"] = {"sha256": request.fingerprint, "new": fresh}
        how = "handed in" if fresh else "waits there since earlier"
        self._say(f"request for {self._name} {how}")
        self._say(f"  SHA-256 {fingerprint_shown(request.fingerprint)}")

    def waiting(self, since: float, left: float, problem: str | None) -> None:
        if not self._told:
            self._told = True
            self._say(
                f"waiting for the signature, {_time(left)} at most; "
                f"on the CA: puppetserver ca sign --certname {self._name}"
            )
        if not self._as_json:
            text = f"waiting... {_time(since)}, {_time(left)} left"
            self._console.progress(f"{text}, {safe(problem, 100)}" if problem else text)

    def warning(self, text: str) -> None:
        self._warnings.append(text)
        if not self._as_json:
            self._console.note(f"backplane: warning: {safe(text)}")

    def enrolled(self, enrolled: Enrolled) -> None:
        """It has ended well."""
        facts = facts_of(enrolled.certificate)
        path = os.path.join(self._ssl_dir, "certs", f"{self._name}.pem")
        self._document["certificate"] = {"path": path, "new": enrolled.fresh, **facts}
        self._console.clear()
        self._say(f"certificate {path}{', new' if enrolled.fresh else ', which was there'}")
        self._say(f"  {facts['subject']}, valid until {facts['not_after'][:10]}")
        self._say(f"    SHA-256 {fingerprint_shown(facts['sha256'])}")
        self._say("enrolled" if enrolled.fresh else "enrolled already, and all is good")
        if self._hints:
            self._say(f"to use it with this command: {', and '.join(self._hints)}")

    def end(self, error: str | None, code: ExitCode) -> int:
        """Say how it ended; return the exit code."""
        if self._as_json:
            document = {
                **self._document,
                "warnings": self._warnings,
                "error": error,
                "exit_code": int(code),
            }
            self._console.print_json(document)
        elif error is not None:
            self._console.clear()
            self._console.note(f"backplane: error: {safe(error)}")
        return int(code)

    def _say(self, text: str) -> None:
        if not self._as_json:
            self._console.print(safe(text))


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
