"""Kinds of words on the command line: times, leases, numbers of services, actions."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from backplane.client.batches import Size
from backplane.client.changes import MAX_LEASE
from backplane.config.durations import parse_duration

__all__ = ["Action", "Amount", "Lease", "Seconds"]


class Seconds(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A time, in seconds or with a unit; more than nothing and less than a day."""

    name = "SECONDS"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        plain = value.isascii() and value.replace(".", "", 1).isdigit()
        try:
            seconds = float(value) if plain else parse_duration(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 86400:
            self.fail(f"{value!r} is not a time such as 5, 2.5s or 1m", param, ctx)
        return seconds


class Lease(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """How long a change lasts: one second at least, and ninety days at most."""

    name = "TIME"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        plain = value.isascii() and value.isdigit()
        try:
            seconds = float(value) if plain else parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 90s, 15m or 2h", param, ctx)
        if not 1 <= seconds <= MAX_LEASE:
            self.fail(f"{value!r} is not between 1s and {MAX_LEASE // 86400}d", param, ctx)
        return seconds


class Amount(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of services, or a share of them such as ``20%``."""

    name = "N|N%"

    def convert(self, value: Any, param: Any, ctx: Any) -> Size:
        if isinstance(value, Size):
            return value
        try:
            return Size.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Action(click.Choice):  # type: ignore[type-arg,unused-ignore]
    """An action; as the verbs stand in the same place, they are offered with them."""

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        verbs = getattr(ctx.find_root().command, "verbs", {})
        more = [CompletionItem(name) for name in sorted(verbs) if name.startswith(incomplete)]
        return [*super().shell_complete(ctx, param, incomplete), *more]
