"""``twistd backplane -c app.yaml``: a service on its own, in three steps.

*Reading* comes before twistd goes into the background and as the user who
started it: the file is read and checked and ``app:`` imported. *Making* comes
after, as the user that it runs as: the factory is called. *Running*: what the
factory returned is started before the management says ready.

A mistake in any step is one message on the terminal that started it, and exit
status 1.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import TracebackType
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import Logger
from twisted.python import usage

from backplane.config.service import LoadedConfig, load_file
from backplane.errors import BackplaneError, ConfigError
from backplane.node.host import host_identity
from backplane.service import Management

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """Options of ``twistd backplane``."""

    synopsis = "[options]"
    longdesc = "Runs the application named in the configuration, with its management backplane."
    optParameters = [["config", "c", "app.yaml", "Configuration file (YAML or JSON)"]]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.yaml")})

    def postOptions(self) -> None:
        """Read the configuration and import the application."""
        # Kept for a message after twistd has left the terminal.
        self["terminal"] = _duplicate_stderr()
        try:
            self["loaded"] = _load(self["config"])
            self["factory"] = _factory(self["loaded"])
            self["management"] = Management(self["loaded"].management)
            self["pid"] = os.getpid()
        except (ConfigError, _StartError) as error:
            sys.stderr.write(f"backplane: error: {error}\n")
            raise SystemExit(1) from None


def _load(path: str) -> LoadedConfig:
    return load_file(path, env=os.environ, hostname=host_identity(), pid=os.getpid(), require=True)


class _StartError(BackplaneError):
    """The application cannot be started; the text says why."""


def _duplicate_stderr() -> int | None:
    try:
        return os.dup(2)
    except OSError:
        return None


def _factory(loaded: LoadedConfig) -> Any:
    """Import ``app: package.module:factory``; the file's folder comes first on the path."""
    if loaded.app is None:
        return None
    if loaded.folder not in sys.path:
        sys.path.insert(0, loaded.folder)
    where = f"{loaded.path}: app: {loaded.app}"
    module, _, name = loaded.app.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise _StartError(f"{where}: importing {module} failed: {_one_line(error)}") from None
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise _StartError(f"{where}: the module {module} has no {name}")
    if not callable(found):
        raise _StartError(f"{where}: {name} is not callable")
    return found


def _one_line(error: BaseException) -> str:
    """Return type and text of an error, and where it came from, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


class _Standalone(MultiService):
    """The service that twistd runs."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self._log = Logger(namespace="backplane.tap")

    def startService(self) -> None:
        """Make the application and start everything."""
        options = self._options
        management: Management = options["management"]
        try:
            if os.getpid() != options["pid"]:
                # ``${PID}`` in the identity means this process.
                management = Management(_load(options["loaded"].path).management)
            self._make(management)
            management.setServiceParent(self)
            super().startService()
        except Exception as error:
            self._fail(error)
        terminal = options["terminal"]
        if terminal is not None:
            os.close(terminal)

    def _make(self, management: Management) -> None:
        factory = self._options["factory"]
        loaded: LoadedConfig = self._options["loaded"]
        if factory is None:
            return
        try:
            made = factory(loaded.document, management)
        except Exception as error:
            self._log.failure("the application's factory failed")
            raise _StartError(f"{loaded.app} failed: {_one_line(error)}") from None
        if made is not None:
            try:
                management.provide(made)
            except (TypeError, BackplaneError) as error:
                raise _StartError(f"what {loaded.app} returned: {error}") from None

    def _fail(self, error: Exception) -> None:
        """End the process with status 1 and one message on the starting terminal."""
        text = str(error) if isinstance(error, BackplaneError) else _one_line(error)
        self._log.critical("the service cannot start: {reason}", reason=text)
        terminal = self._options["terminal"]
        if terminal is not None:
            os.write(terminal, f"backplane: error: {text}\n".encode("utf-8", "replace"))
            os.close(terminal)
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
    return _Standalone(options)
