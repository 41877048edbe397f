"""What operators may ask for, and what keeps a command from being done."""

from __future__ import annotations

from typing import Final

from backplane.client.accounting import ExitCode

__all__ = ["ACTIONS", "Fault"]

ACTIONS: Final = (
    "pause",
    "resume",
    "flip",
    "health",
    "shutdown",
    "ping",
    "info",
    "debuglvl",
    "infolvl",
    "warnlvl",
    "critlvl",
    "threaddump",
)


class Fault(Exception):
    """The run cannot go on; text for the operator, and the exit code."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
