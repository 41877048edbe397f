"""The one error tree of the backplane.

Ours or theirs: :class:`LocalError` is about this process, its configuration
and its state; :class:`RemoteError` is about what somebody sent to us.
``backplane.nats`` has a tree of its own (``backplane.nats.errors``), because
that package can be used without the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

__all__ = [
    "BackplaneError",
    "ConfigError",
    "DecodeError",
    "LocalError",
    "Problem",
    "RemoteError",
    "StateError",
]


class BackplaneError(Exception):
    """Base of every error that the backplane raises on purpose."""


class LocalError(BackplaneError):
    """Something in this process is wrong: its configuration, its use, its state."""


class RemoteError(BackplaneError):
    """Another party sent something that cannot be used."""


class StateError(LocalError):
    """A call that the present state does not allow, such as publishing after stop."""


@attrs.frozen
class Problem:
    """One mistake in a configuration.

    :ivar key: dotted path of the key, such as ``management.brokers[0]``.
    :ivar found: what stands there, as text; never a secret.
    :ivar wanted: what would be right, as a sentence fragment.
    :ivar path: the file, or ``None`` for a configuration made in code.
    :ivar line: line in the file, from 1, or ``None``.
    :ivar column: column in the line, from 1, or ``None``.
    """

    key: str
    found: str
    wanted: str
    path: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.line, self.column) if part)
        head = f"{where}: " if where else ""
        name = f"{self.key}: " if self.key else ""
        return f"{head}{name}found {self.found}, wanted {self.wanted}"


class ConfigError(LocalError):
    """The configuration has mistakes; all of them are in :attr:`problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DecodeError(RemoteError):
    """A message that is not what Choria's protocol asks for.

    :ivar reason: short stable slug that counters and logs use, for example ``bad_base64``.
    :ivar layer: ``transport``, ``secure_request``, ``request``, ``secure_reply``,
        ``reply``, ``filter`` or ``body``.
    :ivar detail: a sentence for people; it quotes no more than a few dozen
        characters of the input.
    """

    def __init__(self, reason: str, layer: str, detail: str) -> None:
        self.reason = reason
        self.layer = layer
        self.detail = detail
        super().__init__(f"{layer}: {detail}")
