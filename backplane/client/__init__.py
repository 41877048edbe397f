"""An operator on the network: discover, request, account; with Deferreds and for asyncio.

Names are imported when they are first used, as not every command needs the network.
"""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from backplane.client.accounting import Answer, ExitCode, Outcome, Stop
    from backplane.client.aio import AsyncClient
    from backplane.client.client import Client
    from backplane.client.jobs import Job, make_job
    from backplane.client.run import Operator, Progress

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ExitCode",
    "Job",
    "Operator",
    "Outcome",
    "Progress",
    "Stop",
    "make_job",
]

_HOMES: _typing.Final = {
    "accounting": ("Answer", "ExitCode", "Outcome", "Stop"),
    "aio": ("AsyncClient",),
    "client": ("Client",),
    "jobs": ("Job", "make_job"),
    "run": ("Operator", "Progress"),
}
"""Where each name comes from; the imports above say the same to type checkers."""

_HOME_OF: _typing.Final = {
    name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names
}


if not _typing.TYPE_CHECKING:  # which knows the names from the imports above, and no others

    def __getattr__(name: str) -> object:
        """Import what a name stands for (PEP 562)."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(_importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
