"""The keys of the ``management`` section, and what each must be."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from backplane.config.brokers import check_broker
from backplane.config.nodes import FAILED, Node
from backplane.config.problems import Collector, describe
from backplane.config.rules import (
    FULL,
    LOG_LEVELS,
    MAX_IDENTITY,
    Rule,
    full_rule,
    identity_rule,
    level_rule,
    name_rule,
    path_rule,
    pattern_rule,
    scheme_rule,
    subject_rule,
    why_not_readable,
    why_not_writable,
)
from backplane.config.sections import Section, read_text
from backplane.config.settings import (
    AuditConfig,
    AuthConfig,
    FactsConfig,
    OutboxConfig,
    ServiceConfig,
    TLSConfig,
)
from backplane.config.strict import check_strict

__all__ = ["CREDENTIALS", "ManagementReader"]

_TEXTS: Final = ("user", "password", "token")
_FILES: Final = ("password_file", "token_file", "nkey_file", "jwt_file", "credentials")

CREDENTIALS: Final = (*_TEXTS, *_FILES)
"""Keys of the section ``nats``."""

_WAYS: Final = (
    ("user", "password", "password_file"),
    ("token", "token_file"),
    ("nkey_file", "jwt_file"),
    ("credentials",),
)
"""Those that belong to one way of logging in."""

_PAIRS: Final = (("password", "password_file"), ("token", "token_file"))

_NEEDS: Final = (("password", "user"), ("password_file", "user"), ("jwt_file", "nkey_file"))


class ManagementReader:
    """What each key of ``management`` must be."""

    def __init__(
        self,
        problems: Collector,
        hostname: str,
        folder: str | None,
        check_files: bool,
        strict: bool = False,
    ) -> None:
        self.problems = problems
        self._strict = strict
        self._hostname = hostname
        self._folder = folder
        self._check_files = check_files

    def service(self, node: Node) -> ServiceConfig | None:
        """Return the configuration; it is only good when there are no problems."""
        top = Section(node, "management", self.problems)
        if node.entries is None:
            return None
        self._strict = top.flag("strict") or self._strict
        config = ServiceConfig(
            name=self._needed(top, "name", name_rule),
            brokers=self._brokers(top),
            logfile=self._file(top, "logfile", why_not_writable),
            loglevel=LOG_LEVELS.get((top.text("loglevel", rule=level_rule) or "warn").lower(), ""),
            tls=self._tls(top),
            auth=self._auth(top),
            audit=self._audit(top),
            identity=self._identity(top),
            **self._nats(top),
            classes_file=self._file(top, "classes_file", why_not_readable),
            facts=self._facts(top),
            outbox=self._outbox(top),
            max_stop_delay=top.number("max_stop_delay", 10.0, 0),
            stop_timeout=top.number("stop_timeout", 10.0, 0),
            reply_to=top.texts("reply_to", "acme.replies.>", subject_rule),
            ping_interval=top.number("ping_interval", 30.0, 1),
            state_file=self._file(top, "state_file", why_not_writable),
            loglevel_lease=top.seconds("loglevel_lease", 1),
            stall_watch=top.switch("stall_watch"),
            strict=self._strict,
        )
        top.close()
        if self._strict:
            check_strict(config, node, self.problems)
        return config

    def _needed(self, section: Section, name: str, rule: Rule) -> str:
        node = section.take(name)
        if node is None:
            wanted = rule("") or "text"
            self.problems.add(section.path(name), "nothing", wanted, section.node)
            return ""
        return read_text(node, section.path(name), self.problems, rule=rule) or ""

    def _brokers(self, top: Section) -> tuple[str, ...]:
        node, key = top.take("brokers"), top.path("brokers")
        items = () if node is None else node.items
        if node is not None and (items is None or node.value is FAILED):
            if node.value is not FAILED:
                # An address may have a password in it.
                found = describe(node, secret="@" in str(node.value))
                self.problems.add(key, found, "a list, such as [host:4222]", node)
            return ()
        if not items:
            wanted = "at least one address: please specify backplane brokers"
            self.problems.add(key, "nothing", wanted, node or top.node)
        brokers = []
        for at, item in enumerate(items or ()):
            if not isinstance(item.value, str):
                read_text(item, f"{key}[{at}]", self.problems, wanted="text such as host:4222")
                continue
            wrong = check_broker(item.value)
            if wrong is not None:
                self.problems.add(f"{key}[{at}]", *wrong, at=item)
            brokers.append(item.value.strip())
        return tuple(brokers)

    def _identity(self, top: Section) -> str:
        given = top.take("identity")
        instance = top.text("instance", rule=identity_rule)
        if given is not None:
            identity = read_text(given, top.path("identity"), self.problems, rule=identity_rule)
        else:
            identity = self._hostname
            if identity_rule(identity) is not None:
                found = f"the host name {identity[:60]!r}, which is none"
                self.problems.add(top.path("identity"), found, "an identity", top.node)
        whole = f"{identity or ''}-{instance}" if instance else identity or ""
        if instance and len(whole) > MAX_IDENTITY:
            wanted = f"identity and instance of {MAX_IDENTITY} characters at most"
            self.problems.add(top.path("instance"), f"{len(whole)} characters", wanted, top.node)
        return whole

    def _tls(self, top: Section) -> TLSConfig | None:
        tls = top.section("tls")
        if tls is None:
            return None
        made = TLSConfig(
            scheme=self._needed(tls, "scheme", scheme_rule),
            **{name: self._file(tls, name, why_not_readable) for name in ("ca", "cert", "key")},
            cache=self._file(tls, "cache"),
            ssl_dir=self._file(tls, "ssl_dir"),
            identity=tls.text("identity", rule=identity_rule),
            support_legacy_certificates=tls.flag("support_legacy_certificates"),
            crl=self._file(tls, "crl", why_not_readable),
            allow=self._patterns(tls, "allow"),
            privileged=self._patterns(tls, "privileged"),
            delegation=tls.flag("delegation", default=not self._strict),
            handshake_first=tls.flag("handshake_first"),
        )
        tls.close()
        return made

    def _patterns(self, section: Section, name: str) -> tuple[str, ...] | None:
        return section.texts(name, r"\.choria$") if section.has(name) else None

    def _auth(self, top: Section) -> AuthConfig:
        auth = top.section("auth")
        if auth is None:
            return AuthConfig()
        made = AuthConfig(
            insecure=auth.flag("insecure"),
            full=auth.texts("full", "sre.choria", pattern_rule),
            read_only=auth.texts("read_only", "1stline.choria", pattern_rule),
            hidden=auth.flag("hidden"),
            policy=self._file(auth, "policy", why_not_readable),
            groups=self._file(auth, "groups", why_not_readable),
        )
        auth.close()
        return made

    def _audit(self, top: Section) -> AuditConfig | None:
        audit = top.section("audit")
        if audit is None:
            return None
        logfile = self._file(audit, "logfile", why_not_writable)
        if logfile is None and not audit.has("logfile"):
            self.problems.add(audit.path("logfile"), "nothing", "a path", audit.node)
        made = AuditConfig(
            logfile=logfile or "", required=audit.flag("required", default=self._strict)
        )
        audit.close()
        return made

    def _nats(self, top: Section) -> dict[str, str | None]:
        nats = top.section("nats")
        if nats is None:
            return {}
        given = [name for name in CREDENTIALS if nats.has(name)]
        made = {name: nats.text(name, secret=name != "user") for name in _TEXTS}
        made |= {name: self._file(nats, name, why_not_readable) for name in _FILES}
        ways = [found for way in _WAYS if (found := [name for name in way if name in given])]
        if len(ways) > 1:
            several = " and ".join(way[0] for way in ways)
            self.problems.add(nats.key, several, "one way to log in", nats.node)
        for pair in _PAIRS:
            if all(name in given for name in pair):
                self.problems.add(nats.key, " and ".join(pair), "one of the two", nats.node)
        for name, needed in _NEEDS:
            if name in given and needed not in given:
                alone = f"{name} without {needed}"
                self.problems.add(nats.key, alone, "both or neither", nats.node)
        nats.close()
        return made

    def _facts(self, top: Section) -> FactsConfig:
        facts = top.section("facts")
        if facts is None:
            return FactsConfig()
        made = FactsConfig(
            interval=facts.number("interval", 600.0, 1),
            secrets=facts.texts("secrets", "apikey"),
            exempt=facts.texts("exempt", "token_count"),
        )
        facts.close()
        return made

    def _outbox(self, top: Section) -> OutboxConfig:
        outbox = top.section("outbox")
        if outbox is None:
            return OutboxConfig()
        made = OutboxConfig(
            max_items=int(outbox.number("max_items", OutboxConfig().max_items, 1, whole=True)),
            max_bytes=int(outbox.number("max_bytes", OutboxConfig().max_bytes, 1, whole=True)),
            file=self._file(outbox, "file", why_not_writable),
            full=FULL.get(outbox.text("full", rule=full_rule) or "wait", "wait"),
        )
        outbox.close()
        return made

    def _file(
        self, section: Section, name: str, why: Callable[[str], str | None] | None = None
    ) -> str | None:
        node = section.take(name)
        if node is None:
            return None
        text = read_text(node, section.path(name), self.problems, wanted="a path", rule=path_rule)
        if text is None:
            return None
        path = os.path.join(self._folder, text) if self._folder is not None else text
        reason = why(path) if why is not None and self._check_files else None
        if reason is not None:
            wanted = "a file that can be " + ("written" if why is why_not_writable else "read")
            self.problems.add(section.path(name), f"{path!r}, {reason}", wanted, node)
        return path
