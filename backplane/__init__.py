"""An embeddable Choria management backplane for Python services.

Names are imported when they are first used, so ``import backplane`` is quick, and
neither Twisted nor its reactor comes with it.
"""

import importlib as _importlib
import typing as _typing

from backplane._version import __version__

if _typing.TYPE_CHECKING:
    from backplane import aio
    from backplane.choria.ddl import Input, Metadata, Output
    from backplane.choria.rpc import ActionError, StatusCode
    from backplane.config.service import load_file
    from backplane.config.settings import StandardConfiguration
    from backplane.errors import BackplaneError, ConfigError, StateError
    from backplane.forks import ForkedError
    from backplane.interfaces import DataItem, LogLevel, blocking
    from backplane.node.agent import ActionRequest, Agent, action
    from backplane.node.outbox import ItemRefused, OutboxFull, SpoolError
    from backplane.node.presence import ManagementState, Phase
    from backplane.service import Management
    from backplane.threaded import ThreadedManagement, start_in_thread

__all__ = [
    "ActionError",
    "ActionRequest",
    "Agent",
    "BackplaneError",
    "ConfigError",
    "DataItem",
    "ForkedError",
    "Input",
    "ItemRefused",
    "LogLevel",
    "Management",
    "ManagementState",
    "Metadata",
    "OutboxFull",
    "Output",
    "Phase",
    "SpoolError",
    "StandardConfiguration",
    "StateError",
    "StatusCode",
    "ThreadedManagement",
    "__version__",
    "action",
    "aio",
    "blocking",
    "load_file",
    "start_in_thread",
]

_HOMES: _typing.Final = {
    "backplane.choria.ddl": ("Input", "Metadata", "Output"),
    "backplane.choria.rpc": ("ActionError", "StatusCode"),
    "backplane.config.service": ("load_file",),
    "backplane.config.settings": ("StandardConfiguration",),
    "backplane.errors": ("BackplaneError", "ConfigError", "StateError"),
    "backplane.forks": ("ForkedError",),
    "backplane.interfaces": ("DataItem", "LogLevel", "blocking"),
    "backplane.node.agent": ("ActionRequest", "Agent", "action"),
    "backplane.node.outbox": ("ItemRefused", "OutboxFull", "SpoolError"),
    "backplane.node.presence": ("ManagementState", "Phase"),
    "backplane.service": ("Management",),
    "backplane.threaded": ("ThreadedManagement", "start_in_thread"),
}
"""Where each name comes from; the imports above say the same to type checkers."""

_HOME_OF: _typing.Final = {name: home for home, names in _HOMES.items() for name in names}


if not _typing.TYPE_CHECKING:  # which knows the names from the imports above, and no others

    def __getattr__(name: str) -> object:
        """Import what a name stands for (PEP 562); a module of ours may be one."""
        home = _HOME_OF.get(name)
        if home is not None:
            found = getattr(_importlib.import_module(home), name)
        else:
            found = _module(name)
        globals()[name] = found
        return found


def _module(name: str) -> object:
    """Import a module of the package as if it had been imported by name before."""
    missing = AttributeError(f"module 'backplane' has no attribute {name!r}")
    if name.startswith("_"):
        raise missing
    try:
        return _importlib.import_module(f"backplane.{name}")
    except ModuleNotFoundError as error:
        if error.name == f"backplane.{name}":
            raise missing from None
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
