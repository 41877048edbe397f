"""Layers of configuration files: a service's and a client's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from hypothesis import strategies as st

from backplane.config.client import load_client_config
from backplane.config.durations import parse_duration
from backplane.config.expand import ExpandError, expand
from backplane.config.service import load_file
from backplane.errors import ConfigError
from backplane.node.remembering import Remembering
from backplane.node.statefile import StateFile, StateFileError
from tests.fuzz.corpus import configurations, table
from tests.fuzz.engine import Layer, Read
from tests.fuzz.strategies import documents

__all__ = ["LAYERS"]

ENVIRON: Final = {"HOME": "/home/a", "NAME": "shop", "EMPTY": "", "USER": "a"}

KEYS: Final = (
    *("management", "app", "name", "identity", "instance", "brokers", "loglevel", "logfile"),
    *("tls", "scheme", "ca", "cert", "key", "ssl_dir", "allow", "privileged", "delegation"),
    *("auth", "full", "read_only", "insecure", "hidden", "policy", "groups", "facts", "interval"),
    *("audit", "required", "outbox", "max_items", "nats", "user", "password", "token"),
)

_YAML: Final = (
    *(f"{key}: " for key in KEYS),
    *("\n", "  ", "- ", "[", "]", "{", "}", ",", "|", ">", "&a ", "*a", "<<: *a", "!!int ", "!a "),
    *("'", '"', "#", "---\n", "...\n", "? ", ": ", "${NAME}", "${X:-y}", "${", "$$", "~", "yes"),
    *(
        "0x1f",
        "1_000",
        "1e3",
        ".inf",
        "2024-01-01",
        "\t",
        "%YAML 1.2\n",
        "broker:4222",
        "sre.choria",
    ),
)


def _service(data: bytes) -> object:
    return _loaded("/etc/app/app.yaml", data)


def _service_json(data: bytes) -> object:
    return _loaded("/etc/app/app.json", data)


def _loaded(path: str, data: bytes) -> object:
    return load_file(
        path,
        env=ENVIRON,
        hostname="app1.example.net",
        pid=7,
        check_files=False,
        read=lambda name: data,
    )


def _client(data: bytes) -> object:
    def read(path: str) -> bytes:
        if path != "/etc/choria/client.conf":
            raise FileNotFoundError(2, "No such file or directory", path)
        return data

    def nothing(path: str) -> Iterable[str]:
        raise FileNotFoundError(2, "No such file or directory", path)

    return load_client_config(
        "/etc/choria/client.conf",
        home="/home/a",
        cwd="/home/a/src",
        env=ENVIRON,
        read=read,
        listdir=nothing,
    )


def _services() -> Sequence[bytes]:
    captured = [path.read_bytes() for path in configurations() if path.suffix == ".yaml"]
    return [*captured, WHOLE.encode(), json.dumps({"management": {"name": "a"}}).encode()]


WHOLE: Final = """\
app: shop:make
management:
  name: shop
  identity: "${NAME}1.example.net"
  loglevel: info
  brokers: [broker1.example.net:4222, "tls://b:4222"]
  tls: {scheme: file, ca: /a/ca.pem, cert: /a/a.pem, key: /a/a.key, allow: ['\\.choria$']}
  auth:
    full: &ops
      - sre.choria
    read_only: *ops
  audit: {logfile: /var/log/a, required: true}
  outbox: {max_items: 1000}
"""


def _clients() -> Sequence[bytes]:
    tables = [
        text.encode()
        for case in table("config_files")["cases"]
        for text in case["files"].values()
        if len(text) < 5000
    ]
    return [*tables, *(path.read_bytes() for path in configurations() if path.suffix == ".conf")]


@contextmanager
def _starting() -> Iterator[Read]:
    """Start with a state file: what cannot be read is said, and refused what may be a repeat."""
    # In memory where that can be: each start forces its file to the disk.
    with tempfile.TemporaryDirectory(dir=SHARED if os.path.isdir(SHARED) else None) as folder:
        path = os.path.join(folder, "state")

        def read(data: bytes) -> object:
            said: list[str] = []
            with open(path, "wb") as file:
                file.write(data)
            state = StateFile(path, said.append, lambda: BOOT)
            try:
                found = Remembering(state, state.open(), NOW, said.append)
                digest = bytes.fromhex("ab" * 32)
                found.memory.check(digest, "choria=a", NOW + 60, NOW, True)
            finally:
                state.close()
            return found.complete

        yield read


SHARED: Final = "/dev/shm"
BOOT: Final = "5d2b1a3c"
NOW: Final = 1_795_570_522.5

STATE: Final = f"""\
{{"backplane":"state","version":1,"boot":"{BOOT}"}}
{{"forgotten_until":1795570000.5}}
{{"seen":["{"ab" * 32}",1795570582,"choria=rip.mcollective"]}}
{{"seen":["{"cd" * 32}",1795570500,"choria=sre.choria"]}}
"""

_DURATION: Final = ("1", "10", ".", "h", "m", "s", "ms", "us", "µs", "ns", "d", "w", "M", "y", "-")

LAYERS: Final = (
    Layer(
        name="configuration, YAML",
        read=_service,
        errors=(ConfigError,),
        seeds=_services,
        words=_YAML,
        binary=True,
        weight=4,
    ),
    Layer(
        name="configuration, JSON",
        read=_service_json,
        errors=(ConfigError,),
        seeds=lambda: [each for each in _services() if each.startswith(b"{")],
        made=st.tuples(documents(*KEYS), documents(*KEYS)).map(
            lambda pair: f'{{"management":{pair[0]},"app":"a:b","x":{pair[1]}}}'.encode()
        ),
        words=tuple(f'"{key}":' for key in KEYS),
        binary=True,
        weight=3,
    ),
    Layer(
        name="configuration of clients",
        read=_client,
        errors=(ConfigError,),
        seeds=_clients,
        words=(
            "plugin.choria.",
            "middleware_hosts",
            " = ",
            "\n",
            "#",
            ",",
            "identity",
            "ttl",
            "1h",
        ),
        binary=True,
        weight=4,
    ),
    Layer(
        name="state of a service",
        opened=_starting,
        errors=(StateFileError,),
        seeds=lambda: (STATE.encode(),),
        words=(
            '{"seen":["',
            '"]}\n',
            '{"forgotten_until":',
            "ab" * 32,
            "\n",
            ',"choria=a"',
            "1e400",
        ),
        made=st.lists(documents("seen", "forgotten_until"), max_size=3).map(
            lambda lines: "\n".join([STATE.partition("\n")[0], *lines, ""]).encode()
        ),
        binary=True,
        weight=1,
    ),
    Layer(
        name="durations",
        read=parse_duration,
        errors=(ValueError,),
        seeds=lambda: [str(case["text"]) for case in table("durations")["config"]],
        words=_DURATION,
        weight=2,
    ),
    Layer(
        name="variables",
        read=lambda text: expand(text, ENVIRON),
        errors=(ExpandError,),
        seeds=lambda: ["${NAME}", "${X:-a${NAME}}", "$$ {a} ${EMPTY:-b}", "a"],
        words=("${", "}", ":-", "$", "NAME", "X", "{", "a"),
        weight=1,
    ),
)
