"""``twistd backplane -c app.yaml``: a service on its own, in three steps.

*Reading* comes before twistd goes into the background and as the user who
started it: the file is read and checked and ``app:`` imported. *Making* comes
after, as the user that it runs as: the factory is called, or what stands for the
process of ``sidecar:`` is made. *Running*: that is started before the management says ready.

A mistake in any step is one message on the terminal that started it, and exit
status 1.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python import usage

from backplane.config.document import read_file
from backplane.config.service import LoadedConfig, load_file
from backplane.errors import BackplaneError, ConfigError
from backplane.hangup import HangUps
from backplane.host import host_identity
from backplane.logs import printable
from backplane.plugincache import forget_complaint
from backplane.service import Management
from backplane.sidecar import Sidecar
from backplane.stalepid import forget_stale
from backplane.stalls import StallService

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """Options of ``twistd backplane``."""

    synopsis = "[options]"
    longdesc = "Runs the application named in the configuration, with its management backplane."
    optParameters = [["config", "c", "app.yaml", "Configuration file (YAML or JSON)"]]
    optFlags = [
        ["strict", None, "Refuse to run without TLS, required audit, or with anything loose"]
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.yaml")})

    def postOptions(self) -> None:
        """Read the configuration and import the application."""
        try:
            source = _Source(self["config"], bool(self["strict"]))
            loaded = source.load()
            management = Management(loaded.management)
            factory = _factory(loaded)
        except (ConfigError, _StartError) as error:
            sys.stderr.write(f"backplane: error: {error}\n")
            raise SystemExit(1) from None
        forget_complaint()
        if self.parent is not None and self.parent.get("pidfile"):
            forget_stale(self.parent["pidfile"])
        self["plan"] = _Plan(source, loaded, management, factory, os.getpid(), _Terminal())


class _StartError(BackplaneError):
    """The application cannot be started; the text says why."""


class _Source:
    """A configuration file, which is read once: who starts may read it, not who runs."""

    def __init__(self, path: str, strict: bool) -> None:
        self._strict = strict
        # twistd changes the directory later.
        self._path = os.path.abspath(path)
        self._hostname = host_identity()
        self._read = functools.cache(read_file)

    def load(self, check_files: bool = True) -> LoadedConfig:
        """Return the configuration, in which ``${PID}`` is this process."""
        return load_file(
            self._path,
            env=os.environ,
            hostname=self._hostname,
            pid=os.getpid(),
            require=True,
            check_files=check_files,
            strict=self._strict,
            read=self._read,
        )


class _Terminal:
    """The standard error of who started, after twistd has left it."""

    def __init__(self) -> None:
        try:
            self._copy: int | None = os.dup(2)
        except OSError:
            self._copy = None

    def write(self, text: str) -> None:
        """Write, if somebody is still there."""
        if self._copy is not None:
            try:
                os.write(self._copy, text.encode("utf-8", "replace"))
            except OSError:
                pass

    def close(self) -> None:
        """Let go of it."""
        if self._copy is not None:
            os.close(self._copy)
            self._copy = None


@attrs.frozen
class _Plan:
    """What was read, for what is to be made of it.

    :ivar pid: of the process that read it.
    """

    source: _Source
    loaded: LoadedConfig
    management: Management
    factory: Callable[..., Any] | None
    pid: int
    terminal: _Terminal


def _factory(loaded: LoadedConfig) -> Callable[..., Any] | None:
    """Import ``app: package.module:factory``; the file's folder comes first on the path."""
    if loaded.app is None:
        return None
    if sys.path[:1] != [loaded.folder]:
        sys.path.insert(0, loaded.folder)
    where = f"{loaded.path}: app: {loaded.app}"
    module, _, name = loaded.app.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise _StartError(f"{where}: importing {module} failed: {_one_line(error)}") from None
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise _StartError(f"{where}: the module {module} has no {name}")
    if not callable(found):
        raise _StartError(f"{where}: {name} is not callable")
    factory: Callable[..., Any] = found
    return factory


def _one_line(error: BaseException) -> str:
    """Return type and text of an error, and where it came from, on one line."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        # Neither we nor the import system are where the mistake is.
        if frame.filename not in (__file__, importlib.__file__)
        and not frame.filename.startswith("<frozen importlib")
    ]
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    text = printable(" ".join(str(error).split()), 2000)
    return type(error).__name__ + (f": {text}" if text else "") + place


class _Standalone(MultiService):
    """The service that twistd runs."""

    def __init__(self, plan: _Plan) -> None:
        super().__init__()
        self._plan = plan
        self._log = Logger(namespace="backplane.tap")
        self._stalls: StallService | None = None
        self._hangups: HangUps | None = None

    def startService(self) -> None:
        """Make the application and start everything."""
        plan = self._plan
        try:
            management, loaded = plan.management, plan.loaded
            if os.getpid() != plan.pid:
                # ``${PID}`` in the identity means this process.
                loaded = plan.source.load(check_files=False)
                # What its files hold was read by whoever started us.
                management = Management(loaded.management, sources=management.sources)
            self._make(management, loaded)
            management.setServiceParent(self)
            super().startService()
            self._watch(management)
        except (Exception, SystemExit) as error:
            self._fail(error)
        finally:
            plan.terminal.close()

    def stopService(self) -> Any:
        """Stop everything."""
        if self._stalls is not None:
            self._stalls.stopService()
        return maybeDeferred(super().stopService).addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        if self._hangups is not None:
            self._hangups.stop()
        return result

    def _watch(self, management: Management) -> None:
        from twisted.internet import reactor  # twistd's own, which runs this

        if management.config.stall_watch is None:  # else it does as it is told
            self._stalls = StallService(reactor)
            self._stalls.startService()
        self._hangups = HangUps(reactor.stop, reactor, self._log)
        self._hangups.start()

    def _make(self, management: Management, loaded: LoadedConfig) -> None:
        if loaded.sidecar is not None:
            log = management.logger("backplane.sidecar")
            output = management.logger("backplane.sidecar", output=True)
            management.provide(Sidecar(loaded.sidecar, log=log, output=output))
        if self._plan.factory is None:
            return
        try:
            made = self._plan.factory(loaded.document, management)
        except (Exception, SystemExit) as error:
            self._log.failure("the application's factory failed")
            raise _StartError(f"{loaded.app} failed: {_one_line(error)}") from None
        if made is not None:
            try:
                management.provide(made)
            except (TypeError, BackplaneError) as error:
                raise _StartError(f"what {loaded.app} returned: {error}") from None

    def _fail(self, error: BaseException) -> None:
        """End the process with status 1 and one message on the starting terminal."""
        text = str(error) if isinstance(error, BackplaneError) else _one_line(error)
        self._log.critical("the service cannot start: {reason}", reason=text)
        self._plan.terminal.write(f"backplane: error: {text}\n")
        # twistd removes its pid file and reports to the waiting parent when
        # startService raises; only the traceback is left out.
        sys.excepthook = _quiet(sys.excepthook)
        raise _StartError(text) from None


def _quiet(previous: Any) -> Any:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, _StartError):
            previous(kind, error, trace)

    return hook


def makeService(options: Options) -> _Standalone:
    """Return the service; it does nothing before it is started."""
    return _Standalone(options["plan"])
