"""What a soak does, as it was asked for."""

from __future__ import annotations

import attrs

__all__ = ["Plan"]


@attrs.frozen(kw_only=True)
class Plan:
    """What is done, and how often.

    :ivar minutes: how long, unless ``restarts`` says how often.
    :ivar services: how many.
    :ivar processes: that they are in.
    :ivar every: seconds from one end of the broker to the next.
    :ivar restarts: how often in all; as often as fits when ``None``.
    :ivar seed: of every random choice. What runs at the same time is of no order all the same.
    :ivar one_in: one in so many connections is cut.
    :ivar plain, durable: items that each service publishes in a second.
    :ivar spooled: one in so many services has the outbox in a file.
    :ivar outage: most seconds from the broker's end to its start.
    :ivar commands: what the operator does after each recovery.
    :ivar patience: seconds after which a wait is given up.
    """

    minutes: float = 30
    services: int = 50
    processes: int = 4
    every: float = 20
    restarts: int | None = None
    seed: int = 1
    one_in: int = 10
    plain: float = 8
    durable: float = 4
    spooled: int = 5
    outage: float = 3
    commands: tuple[str, ...] = ("ping", "info", "pause", "resume")
    patience: float = 120
