"""The ``management:`` section of a service's configuration, and ``app:``.

All mistakes are found before anything starts and reported together. What
stands outside of the two keys is the application's own. Pure but for looking
at the files that the configuration names; environment, host name and process
id are arguments.
"""

from __future__ import annotations

import difflib
import math
import os
import platform
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs
from zope.interface import implementer

from backplane.config.problems import (
    FAILED,
    Collector,
    Node,
    describe,
    expand_tree,
    load_document,
    node_from,
    to_plain,
)
from backplane.errors import ConfigError, Problem
from backplane.interfaces import IConfigProvider
from backplane.patterns import PatternError, compile_pattern

__all__ = [
    "AuthConfig",
    "FactsConfig",
    "LoadedConfig",
    "OutboxConfig",
    "ServiceConfig",
    "StandardConfiguration",
    "TLSConfig",
    "check_broker",
    "load_file",
    "make_config",
    "parse",
]

MAX_IDENTITY: Final = 255
"""Longest identity, in characters; it becomes a part of a subject."""

LOG_LEVELS: Final[Mapping[str, str]] = {
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "critical": "critical",
    "fatal": "critical",
}
"""Words for the level of the backplane's log, the last two pairs as in Go's libraries."""

SCHEMES: Final = ("file", "manual", "puppet")

# Python's `re` is good enough here: the patterns are ours and linear.
_APP_NAME: Final = re.compile(r"[a-z0-9]+")
_IDENTITY: Final = re.compile(r"[\w\-]+(\.[\w\-]+)*", re.ASCII)
_LITERAL: Final = re.compile(r"[A-Za-z0-9_\-.]+")
_NUMBER: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, (str, bytes)):
        # Text is iterable too; letter by letter it would allow people called "s".
        raise ConfigError([Problem("", repr(values)[:60], "a list of texts")])
    return tuple(values)


def brokers_shown(brokers: Iterable[str]) -> str:
    """Return brokers for a ``repr``: without user names, passwords and tokens."""
    return repr(tuple(broker.rpartition("@")[2] for broker in brokers))


@attrs.frozen
class TLSConfig:
    """Where keys and certificates lie.

    :ivar scheme: ``file``, ``manual`` (another word for it) or ``puppet``.
    :ivar ca: file; ``cert`` and ``key`` likewise; ``cache`` and ``ssl_dir`` are directories.
    :ivar identity: name in the certificate, when it is not the service's identity.
    :ivar support_legacy_certificates: accept certificates without alternative names.
    """

    scheme: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    cache: str | None = None
    ssl_dir: str | None = None
    identity: str | None = None
    support_legacy_certificates: bool = False


@attrs.frozen
class AuthConfig:
    """Who may do what; without any entry nobody may do anything.

    :ivar insecure: everybody may do everything.
    :ivar full: patterns of callers who may do everything.
    :ivar read_only: patterns of callers who may look.
    :ivar hidden: callers without a role do not discover the service.
    """

    insecure: bool = False
    full: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    read_only: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    hidden: bool = False


@attrs.frozen
class FactsConfig:
    """The application's facts.

    :ivar interval: seconds between two looks at them.
    :ivar secrets: further patterns of keys whose values are masked.
    :ivar exempt: keys that are never masked.
    """

    interval: float = 600.0
    secrets: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    exempt: tuple[str, ...] = attrs.field(default=(), converter=_texts)


@attrs.frozen
class OutboxConfig:
    """Bounds of what waits to be published: items, and bytes."""

    max_items: int = 10_000
    max_bytes: int = 64 * 1024 * 1024


@implementer(IConfigProvider)
@attrs.frozen(kw_only=True)
class ServiceConfig:
    """The configuration of one management.

    Made directly it is not checked; :func:`make_config` and :func:`parse` check.

    :ivar name: the application's name, ``^[a-z0-9]+$``.
    :ivar brokers: addresses, as they were written.
    :ivar logfile: file of the ``backplane`` log namespaces, or ``None``.
    :ivar loglevel: level of the same: ``debug``, ``info``, ``warn``, ``error``, ``critical``.
    :ivar tls: ``None`` for the insecure mode.
    :ivar identity: this service's name on the network, with the instance appended.
    :ivar user: for the broker, with ``password``; or ``token``.
    :ivar classes_file: file with one class of the node a line.
    :ivar max_stop_delay: longest delay of a requested shutdown, in seconds.
    :ivar stop_timeout: seconds that stopping may take.
    :ivar reply_to: further subjects that callers may be answered on; ``*`` and ``>`` allowed.
    :ivar ping_interval: seconds between two PINGs to the broker.
    """

    name: str
    brokers: tuple[str, ...] = attrs.field(converter=_texts, repr=brokers_shown)
    logfile: str | None = None
    loglevel: str = "warn"
    tls: TLSConfig | None = None
    auth: AuthConfig = AuthConfig()
    identity: str = attrs.Factory(platform.node)
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    classes_file: str | None = None
    facts: FactsConfig = FactsConfig()
    outbox: OutboxConfig = OutboxConfig()
    max_stop_delay: float = 10.0
    stop_timeout: float = 10.0
    reply_to: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    ping_interval: float = 30.0

    @property
    def collective(self) -> str:
        """The sub-collective that all instances of the application share."""
        return f"{self.name}_backplane"

    @property
    def secure(self) -> bool:
        """Whether TLS and signatures are used."""
        return self.tls is not None


StandardConfiguration = ServiceConfig
"""The name that the Go backplane has for it."""


@attrs.frozen(kw_only=True)
class LoadedConfig:
    """A configuration file.

    :ivar management: ``None`` when the file has no such section.
    :ivar app: ``package.module:factory`` or ``None``.
    :ivar document: the whole file as plain values; variables are expanded within
        ``management`` and ``app`` only.
    :ivar path: absolute.
    :ivar folder: the one that relative paths of ``management`` start from.
    """

    management: ServiceConfig | None
    app: str | None
    document: dict[str, Any]
    path: str
    folder: str


def load_file(
    path: str,
    *,
    env: Mapping[str, str],
    hostname: str,
    pid: int,
    require: bool = False,
    check_files: bool = True,
) -> LoadedConfig:
    """Read a configuration file.

    :param env: environment variables for ``${NAME}``.
    :param hostname: the identity when none is given, and ``${HOSTNAME}`` when
        the environment has none.
    :param pid: ``${PID}``.
    :param require: whether the ``management`` section must be there.
    :param check_files: look whether files in it can be read or written.
    :raises ConfigError: with all mistakes.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    problems = Collector(path)
    root = load_document(path, problems)
    if root.value is None and root.entries is None and root.items is None:
        root = attrs.evolve(root, entries=())
    if root.entries is None:
        problems.add("", describe(root), "a mapping with the key management", root)
        raise problems.error()
    variables = _variables(env, hostname, pid)
    entries = tuple(
        attrs.evolve(entry, node=expand_tree(entry.node, variables, entry.name, problems))
        if entry.name in ("management", "app")
        else entry
        for entry in root.entries
    )
    nodes = {entry.name: entry.node for entry in entries}
    management = app = None
    if "management" in nodes:
        rules = _Rules(problems, hostname, folder, check_files)
        management = rules.service(nodes["management"])
    elif require:
        problems.add("management", "nothing", "a section with name and brokers")
    if "app" in nodes:
        app = _text(nodes["app"], "app", problems, rule=_factory_rule)
    problems.check()
    document = to_plain(attrs.evolve(root, entries=entries))
    return LoadedConfig(management=management, app=app, document=document, path=path, folder=folder)


def parse(
    mapping: Mapping[str, Any],
    *,
    path: str | None = None,
    env: Mapping[str, str],
    hostname: str,
    pid: int,
    check_files: bool = True,
) -> ServiceConfig:
    """Return the configuration in a mapping with the keys of ``management``.

    :param path: the file that it came from; paths are relative to its folder.
    :raises ConfigError: with all mistakes.
    """
    problems = Collector(path)
    root = node_from(mapping, problems)
    root = expand_tree(root, _variables(env, hostname, pid), "management", problems)
    folder = os.path.dirname(os.path.abspath(path)) if path is not None else None
    return _checked(_Rules(problems, hostname, folder, check_files), root)


def make_config(
    *, hostname: str | None = None, pid: int | None = None, **fields: Any
) -> ServiceConfig:
    """Return a checked configuration that is made in code.

    :param hostname: the machine's name by default.
    :param pid: this process's id by default.
    :param fields: those of :class:`ServiceConfig`, and ``instance``. Variables
        are expanded in ``identity`` and ``instance`` only, and only
        ``${HOSTNAME}`` and ``${PID}``.
    :raises ConfigError: with all mistakes.
    """
    problems = Collector()
    values = {name: _plain_value(value) for name, value in fields.items() if value is not None}
    credentials = {name: values.pop(name) for name in _CREDENTIALS if name in values}
    if credentials:
        values["nats"] = credentials
    host = platform.node() if hostname is None else hostname
    variables = _variables({}, host, os.getpid() if pid is None else pid)
    root = node_from(values, problems)
    entries = tuple(
        attrs.evolve(
            entry, node=expand_tree(entry.node, variables, f"management.{entry.name}", problems)
        )
        if entry.name in ("identity", "instance")
        else entry
        for entry in root.entries or ()
    )
    rules = _Rules(problems, host, None, True)
    return _checked(rules, attrs.evolve(root, entries=entries))


def _checked(rules: _Rules, root: Node) -> ServiceConfig:
    config = rules.service(root)
    rules.problems.check()
    if config is None:
        raise rules.problems.error()
    return config


def _plain_value(value: Any) -> Any:
    if attrs.has(type(value)):
        return attrs.asdict(value, filter=lambda _, each: each is not None)
    return value


def _variables(env: Mapping[str, str], hostname: str, pid: int) -> Mapping[str, str]:
    host = env.get("HOSTNAME") or hostname
    return ChainMap({"HOSTNAME": host, "PID": str(pid)}, dict(env))


_Rule = Callable[[str], "str | None"]
"""Says what is wanted instead of a text, or ``None`` when the text is right."""


def _text(
    node: Node,
    key: str,
    problems: Collector,
    *,
    wanted: str = "text",
    rule: _Rule | None = None,
    secret: bool = False,
) -> str | None:
    if node.value is FAILED:
        return None
    if not isinstance(node.value, str):
        scalar = node.language is not None and node.entries is None and node.items is None
        hint = "; put it in quotes" if scalar else ""
        problems.add(key, describe(node, secret=secret), wanted + hint, node)
        return None
    refused = rule(node.value) if rule is not None and node.value else None
    if not node.value:
        refused = f"{wanted}, not an empty one"
    if refused is not None:
        problems.add(key, describe(node, secret=secret), refused, node)
        return None
    return node.value


class _Section:
    """Takes typed values out of a mapping and reports the keys that nobody took."""

    def __init__(self, node: Node, key: str, problems: Collector) -> None:
        self.node = node
        self.key = key
        self.problems = problems
        self._entries = {entry.name: entry for entry in node.entries or ()}
        self._known: list[str] = []
        if node.entries is None and node.value is not FAILED:
            problems.add(key, describe(node), "a mapping of keys, or no such key", node)

    def path(self, name: str) -> str:
        return f"{self.key}.{name}"

    def take(self, name: str) -> Node | None:
        self._known.append(name)
        entry = self._entries.get(name)
        return entry.node if entry is not None else None

    def text(self, name: str, **rules: Any) -> str | None:
        node = self.take(name)
        return None if node is None else _text(node, self.path(name), self.problems, **rules)

    def texts(self, name: str, like: str, rule: _Rule | None = None) -> tuple[str, ...]:
        node = self.take(name)
        if node is None or node.value is FAILED:
            return ()
        if node.items is None:
            self.problems.add(self.path(name), describe(node), f"a list, such as [{like}]", node)
        read = (
            _text(item, f"{self.path(name)}[{at}]", self.problems, rule=rule)
            for at, item in enumerate(node.items or ())
        )
        return tuple(item for item in read if item is not None)

    def flag(self, name: str) -> bool:
        node = self.take(name)
        if node is None or node.value is FAILED:
            return False
        words = {"true": True, "false": False}
        if node.expanded and str(node.value).lower() in words:
            return words[str(node.value).lower()]
        if not isinstance(node.value, bool):
            self.problems.add(self.path(name), describe(node), "true or false", node)
            return False
        return node.value

    def number(self, name: str, default: float, least: float, whole: bool = False) -> float:
        node = self.take(name)
        if node is None or node.value is FAILED:
            return default
        value = _number(node)
        kind = "a whole number" if whole else "a number"
        if value is None or value < least or (whole and not value.is_integer()):
            wanted = f"{kind} of at least {least:g}, such as {default:g}"
            if isinstance(node.value, str):
                wanted += ", without quotes"
            elif value is None and node.language is not None:
                wanted += "; if text is meant, put it in quotes"
            self.problems.add(self.path(name), describe(node), wanted, node)
            return default
        return value

    def section(self, name: str) -> _Section | None:
        node = self.take(name)
        section = None if node is None else _Section(node, self.path(name), self.problems)
        return section if section is not None and section.node.entries is not None else None

    def close(self) -> None:
        known = sorted(self._known)
        for entry in self._entries.values():
            if entry.name in self._known:
                continue
            near = difflib.get_close_matches(str(entry.name), known, 1)
            wanted = f"{near[0]!r} perhaps; " if near else ""
            path = self.path(str(entry.name))
            at = entry if entry.line is not None else None
            self.problems.add(path, "an unknown key", f"{wanted}one of {', '.join(known)}", at)


def _number(node: Node) -> float | None:
    """Return the number that was meant, or ``None``.

    YAML 1.1 takes ``1e3`` for text, and octal and sexagesimal numbers for
    others than people mean; both show when the written text is read in decimal.
    """
    value = node.value
    if isinstance(value, str):
        usable = (not node.quoted or node.expanded) and _NUMBER.fullmatch(value)
        value = float(value) if usable else None
    elif node.written is not None and not isinstance(value, bool):
        decimal = node.written.replace("_", "")
        value = value if _NUMBER.fullmatch(decimal) and float(decimal) == value else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


class _Rules:
    """What each key of ``management`` must be."""

    def __init__(
        self, problems: Collector, hostname: str, folder: str | None, check_files: bool
    ) -> None:
        self.problems = problems
        self._hostname = hostname
        self._folder = folder
        self._check_files = check_files

    def service(self, node: Node) -> ServiceConfig | None:
        """Return the configuration; it is only good when there are no problems."""
        top = _Section(node, "management", self.problems)
        if node.entries is None:
            return None
        config = ServiceConfig(
            name=self._needed(top, "name", _name_rule),
            brokers=self._brokers(top),
            logfile=self._file(top, "logfile", _why_not_writable),
            loglevel=LOG_LEVELS.get((top.text("loglevel", rule=_level_rule) or "warn").lower(), ""),
            tls=self._tls(top),
            auth=self._auth(top),
            identity=self._identity(top),
            **self._nats(top),
            classes_file=self._file(top, "classes_file", _why_not_readable),
            facts=self._facts(top),
            outbox=self._outbox(top),
            max_stop_delay=top.number("max_stop_delay", 10.0, 0),
            stop_timeout=top.number("stop_timeout", 10.0, 0),
            reply_to=top.texts("reply_to", "acme.replies.>", _subject_rule),
            ping_interval=top.number("ping_interval", 30.0, 1),
        )
        top.close()
        return config

    def _needed(self, section: _Section, name: str, rule: _Rule) -> str:
        node = section.take(name)
        if node is None:
            wanted = rule("") or "text"
            self.problems.add(section.path(name), "nothing", wanted, section.node)
            return ""
        return _text(node, section.path(name), self.problems, rule=rule) or ""

    def _brokers(self, top: _Section) -> tuple[str, ...]:
        node, key = top.take("brokers"), top.path("brokers")
        items = () if node is None else node.items
        if node is not None and (items is None or node.value is FAILED):
            if node.value is not FAILED:
                self.problems.add(key, describe(node), "a list, such as [host:4222]", node)
            return ()
        if not items:
            wanted = "at least one address: please specify backplane brokers"
            self.problems.add(key, "nothing", wanted, node or top.node)
        brokers = []
        for at, item in enumerate(items or ()):
            if not isinstance(item.value, str):
                _text(item, f"{key}[{at}]", self.problems, wanted="text such as host:4222")
                continue
            wrong = check_broker(item.value)
            if wrong is not None:
                self.problems.add(f"{key}[{at}]", *wrong, at=item)
            brokers.append(item.value.strip())
        return tuple(brokers)

    def _identity(self, top: _Section) -> str:
        given = top.take("identity")
        instance = top.text("instance", rule=_identity_rule)
        if given is not None:
            identity = _text(given, top.path("identity"), self.problems, rule=_identity_rule)
        else:
            identity = self._hostname
            if _identity_rule(identity) is not None:
                found = f"the host name {identity[:60]!r}, which is none"
                self.problems.add(top.path("identity"), found, "an identity", top.node)
        whole = f"{identity or ''}-{instance}" if instance else identity or ""
        if instance and len(whole) > MAX_IDENTITY:
            wanted = f"identity and instance of {MAX_IDENTITY} characters at most"
            self.problems.add(top.path("instance"), f"{len(whole)} characters", wanted, top.node)
        return whole

    def _tls(self, top: _Section) -> TLSConfig | None:
        tls = top.section("tls")
        if tls is None:
            return None
        made = TLSConfig(
            scheme=self._needed(tls, "scheme", _scheme_rule),
            **{name: self._file(tls, name, _why_not_readable) for name in ("ca", "cert", "key")},
            cache=self._file(tls, "cache"),
            ssl_dir=self._file(tls, "ssl_dir"),
            identity=tls.text("identity", rule=_identity_rule),
            support_legacy_certificates=tls.flag("support_legacy_certificates"),
        )
        tls.close()
        return made

    def _auth(self, top: _Section) -> AuthConfig:
        auth = top.section("auth")
        if auth is None:
            return AuthConfig()
        made = AuthConfig(
            insecure=auth.flag("insecure"),
            full=auth.texts("full", "sre.choria", _pattern_rule),
            read_only=auth.texts("read_only", "1stline.choria", _pattern_rule),
            hidden=auth.flag("hidden"),
        )
        auth.close()
        return made

    def _nats(self, top: _Section) -> dict[str, str | None]:
        nats = top.section("nats")
        if nats is None:
            return {}
        made = {name: nats.text(name, secret=name != "user") for name in _CREDENTIALS}
        if made["token"] and made["user"]:
            self.problems.add(nats.key, "a user and a token", "one of the two", nats.node)
        nats.close()
        return made

    def _facts(self, top: _Section) -> FactsConfig:
        facts = top.section("facts")
        if facts is None:
            return FactsConfig()
        made = FactsConfig(
            interval=facts.number("interval", 600.0, 1),
            secrets=facts.texts("secrets", "apikey", _pattern_rule),
            exempt=facts.texts("exempt", "token_count"),
        )
        facts.close()
        return made

    def _outbox(self, top: _Section) -> OutboxConfig:
        outbox = top.section("outbox")
        if outbox is None:
            return OutboxConfig()
        made = OutboxConfig(
            max_items=int(outbox.number("max_items", OutboxConfig().max_items, 1, whole=True)),
            max_bytes=int(outbox.number("max_bytes", OutboxConfig().max_bytes, 1, whole=True)),
        )
        outbox.close()
        return made

    def _file(
        self, section: _Section, name: str, why: Callable[[str], str | None] | None = None
    ) -> str | None:
        node = section.take(name)
        if node is None:
            return None
        text = _text(node, section.path(name), self.problems, wanted="a path", rule=_path_rule)
        if text is None:
            return None
        path = os.path.join(self._folder, text) if self._folder is not None else text
        reason = why(path) if why is not None and self._check_files else None
        if reason is not None:
            wanted = "a file that can be " + ("written" if why is _why_not_writable else "read")
            self.problems.add(section.path(name), f"{path!r}, {reason}", wanted, node)
        return path


_CREDENTIALS: Final = ("user", "password", "token")


def _name_rule(text: str) -> str | None:
    good = _APP_NAME.fullmatch(text)
    return None if good else "a name of lower-case letters and digits, ^[a-z0-9]+$"


def _identity_rule(text: str) -> str | None:
    if len(text) <= MAX_IDENTITY and _IDENTITY.fullmatch(text):
        return None
    return (
        r"ASCII letters, digits, '_', '-' and single dots inside, ^[\w.\-]+$, "
        f"{MAX_IDENTITY} characters at most"
    )


def _scheme_rule(text: str) -> str | None:
    return None if text in SCHEMES else f"one of {', '.join(SCHEMES)}"


def _level_rule(text: str) -> str | None:
    return None if text.lower() in LOG_LEVELS else "one of debug, info, warn, error, critical"


def _path_rule(text: str) -> str | None:
    try:
        bad = b"\0" in os.fsencode(text)
    except UnicodeEncodeError:
        bad = True
    return "a path of characters that file names may have" if bad else None


def _factory_rule(text: str) -> str | None:
    module, colon, factory = text.partition(":")
    names = [*module.split("."), *factory.split(".")]
    good = colon and all(name.isidentifier() for name in names)
    return None if good else "package.module:factory"


def _subject_rule(text: str) -> str | None:
    tokens = text.split(".")
    bad = "" in tokens or ">" in tokens[:-1] or not text.isprintable() or " " in text
    return "a subject without blanks and empty parts, > only at its end" if bad else None


def _pattern_rule(text: str) -> str | None:
    """Refuse what an authorisation list cannot mean, as its reader will."""
    if _LITERAL.fullmatch(text):
        return None
    try:
        compiled = compile_pattern(text)
    except PatternError as error:
        return f"a name or a regular expression ({error})"
    if compiled.fullmatch("") is not None:
        return "a pattern that does not match the empty string, as one that allows everyone does"
    return None


def check_broker(text: str) -> tuple[str, str] | None:
    """Say what is wrong with a broker's address: what was found and what is wanted.

    Good are ``host``, ``host:port``, ``nats://`` and ``tls://`` with either, and
    user information before ``@``, which is never shown. IPv6 stands in brackets.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "", scheme
    place = rest.rstrip("/").rpartition("@")[2]
    # What stands before "://" may be a part of a password.
    shown = repr((scheme + separator if scheme.isalpha() else "") + place[:100])
    if separator and scheme.lower() not in ("nats", "tls"):
        return shown, "an address with nats://, tls:// or neither"
    match = _PLACE.fullmatch(place)
    if match is None or not (match["host"] or ":" in match["ipv6"]):
        wanted = "host, host:port or [IPv6]:port"
        return shown, wanted + (" with a port of 1 to 65535" if ":" in place else "")
    port = match["port"]
    digits = port is None or (port.isascii() and port.isdigit() and len(port) <= 5)
    if not digits or (port is not None and not 1 <= int(port) <= 65535):
        return f"{shown} with the port {port!r}", "a port of 1 to 65535"
    return None


_PLACE: Final = re.compile(r"(?:(?P<host>[\w.\-]+)|\[(?P<ipv6>[\w.:%\-]+)\])(?::(?P<port>[^:]*))?")


def _why_not_readable(path: str) -> str | None:
    if not os.path.exists(path):
        return "which does not exist"
    if os.path.isdir(path):
        return "which is a directory"
    return None if os.access(path, os.R_OK) else "which may not be read"


def _why_not_writable(path: str) -> str | None:
    folder = os.path.dirname(path) or os.curdir
    if os.path.isdir(path):
        return "which is a directory"
    if os.path.exists(path):
        return None if os.access(path, os.W_OK) else "which may not be written"
    if not os.path.isdir(folder):
        return f"in {folder!r}, which is no directory"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"in {folder!r}, not writable"
