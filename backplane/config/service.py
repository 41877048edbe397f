"""The configuration of a service: from a file, a mapping, or code.

All mistakes are found before anything starts and reported together. What stands
outside of ``management:``, ``app:`` and ``sidecar:`` is the application's own. Pure but
for looking at the files that the configuration names; environment, host name
and process id are arguments.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from backplane.config.convert import node_from
from backplane.config.document import load_document, read_file
from backplane.config.expand import expand_tree, variables_for
from backplane.config.management import CREDENTIALS, ManagementReader
from backplane.config.nodes import Node, to_plain
from backplane.config.problems import Collector, describe
from backplane.config.rules import factory_rule
from backplane.config.sections import read_text
from backplane.config.settings import ServiceConfig
from backplane.config.sidecar import SidecarReader
from backplane.config.sidecarvalues import SidecarConfig

__all__ = ["LoadedConfig", "load_file", "make_config", "parse"]


@attrs.frozen(kw_only=True)
class LoadedConfig:
    """A configuration file.

    :ivar management: ``None`` when the file has no such section.
    :ivar app: ``package.module:factory`` or ``None``.
    :ivar sidecar: an outside process instead of an application, or ``None``.
    :ivar document: the whole file as plain values; variables are expanded within
        ``management``, ``app`` and ``sidecar`` only.
    :ivar path: absolute.
    :ivar folder: the one that relative paths of ``management`` start from.
    """

    management: ServiceConfig | None
    app: str | None
    document: dict[str, Any] = attrs.field(repr=False)
    path: str
    folder: str
    sidecar: SidecarConfig | None = None


def load_file(
    path: str,
    *,
    env: Mapping[str, str],
    hostname: str,
    pid: int,
    require: bool = False,
    check_files: bool = True,
    strict: bool = False,
    read: Callable[[str], bytes] = read_file,
) -> LoadedConfig:
    """Read a configuration file.

    :param env: environment variables for ``${NAME}``.
    :param hostname: the identity when none is given, and ``${HOSTNAME}`` when
        the environment has none.
    :param pid: ``${PID}``.
    :param require: whether the ``management`` section must be there.
    :param check_files: look whether files in it can be read or written.
    :param strict: as if the file had ``strict: true``.
    :param read: returns a file's content, or raises :exc:`OSError`.
    :raises ConfigError: with all mistakes.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    problems = Collector(path)
    root = load_document(path, problems, read)
    if root.value is None and root.entries is None and root.items is None:
        root = attrs.evolve(root, entries=())
    if root.entries is None:
        problems.add("", describe(root), "a mapping with the key management", root)
        raise problems.error()
    variables = variables_for(env, hostname, pid)
    entries = tuple(
        attrs.evolve(entry, node=expand_tree(entry.node, variables, entry.name, problems))
        if entry.name in ("management", "app", "sidecar")
        else entry
        for entry in root.entries
    )
    nodes = {entry.name: entry.node for entry in entries}
    management = app = None
    if "management" in nodes:
        rules = ManagementReader(problems, hostname, folder, check_files, strict)
        management = rules.service(nodes["management"])
    elif require:
        problems.add("management", "nothing", "a section with name and brokers")
    if "app" in nodes:
        app = read_text(nodes["app"], "app", problems, rule=factory_rule)
    sidecar = None
    if "sidecar" in nodes:
        reader = SidecarReader(problems, folder, env.get("PATH"), check_files)
        sidecar = reader.sidecar(nodes["sidecar"])
        if "app" in nodes:
            wanted = "one of the two: a service is an application here, or a process outside"
            problems.add("sidecar", "app and sidecar", wanted, nodes["sidecar"])
    problems.check()
    document = to_plain(attrs.evolve(root, entries=entries))
    return LoadedConfig(
        management=management,
        app=app,
        document=document,
        path=path,
        folder=folder,
        sidecar=sidecar,
    )


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
    root = expand_tree(root, variables_for(env, hostname, pid), "management", problems)
    folder = os.path.dirname(os.path.abspath(path)) if path is not None else None
    return _checked(ManagementReader(problems, hostname, folder, check_files), root)


def make_config(
    *,
    hostname: str | None = None,
    pid: int | None = None,
    check_files: bool = True,
    **fields: Any,
) -> ServiceConfig:
    """Return a checked configuration that is made in code.

    :param hostname: the machine's name by default.
    :param pid: this process's id by default.
    :param check_files: look whether files in it can be read or written.
    :param fields: those of :class:`ServiceConfig`, and ``instance``. Variables
        are expanded in ``identity`` and ``instance`` only, and only
        ``${HOSTNAME}`` and ``${PID}``.
    :raises ConfigError: with all mistakes.
    """
    problems = Collector()
    values = {name: _plain_value(value) for name, value in fields.items() if value is not None}
    credentials = {name: values.pop(name) for name in CREDENTIALS if name in values}
    if credentials:
        values["nats"] = credentials
    host = platform.node() if hostname is None else hostname
    variables = variables_for({}, host, os.getpid() if pid is None else pid)
    root = node_from(values, problems)
    entries = tuple(
        attrs.evolve(
            entry, node=expand_tree(entry.node, variables, f"management.{entry.name}", problems)
        )
        if entry.name in ("identity", "instance")
        else entry
        for entry in root.entries or ()
    )
    rules = ManagementReader(problems, host, None, check_files)
    return _checked(rules, attrs.evolve(root, entries=entries))


def _checked(rules: ManagementReader, root: Node) -> ServiceConfig:
    config = rules.service(root)
    rules.problems.check()
    if config is None:
        raise rules.problems.error()
    return config


def _plain_value(value: Any) -> Any:
    if attrs.has(type(value)):
        return attrs.asdict(value, filter=lambda _, each: each is not None)
    return value
