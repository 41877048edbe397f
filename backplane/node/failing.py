"""What is said of something that has failed."""

from __future__ import annotations

from backplane.choria.rpc import ActionError
from backplane.node.description import describe

__all__ = ["reason_of", "text_of"]


def text_of(error: BaseException) -> str:
    """Return an error as one sentence."""
    return error.message if isinstance(error, ActionError) else describe(error)


def reason_of(error: BaseException) -> str:
    """Return the ``reason`` that an action's error gives, or ``failed``."""
    data = error.data if isinstance(error, ActionError) else None
    return str((data or {}).get("reason", "failed"))
