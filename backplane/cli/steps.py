"""The flags of a rollout: in which steps a change goes out, what stops it, and plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from backplane.cli.kinds import Amount, Seconds
from backplane.client.batches import METHODS, Rollout

__all__ = ["rollout_of", "rollout_options"]

_ROLLOUT: Final = (
    click.option("--batch", type=Amount(), metavar="N|N%", help="So many at a time"),
    click.option("--sleep", type=Seconds(), help="How long to wait between batches"),
    click.option("--limit", type=Amount(), metavar="N|N%", help="Only so many of those that match"),
    click.option("--limit-method", type=click.Choice(METHODS), help="Which of them (first)"),
    click.option("--limit-seed", type=int, metavar="SEED", help="Chooses the same at random again"),
    click.option(
        "--gate", type=click.Choice(["health"]), help="After each batch all of it must be healthy"
    ),
    click.option("--gate-timeout", type=Seconds(), help="How long that may take (60s)"),
    click.option(
        "--max-failures", type=click.IntRange(min=0), metavar="N", help="Stop beyond so many (0)"
    ),
    click.option(
        "--on-failure", type=click.Choice(["stop", "undo"]), help="What to do then (stop)"
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be done to whom, send nothing"),
    click.option("--plan", metavar="FILE", help="The same, and write it down"),
    click.option("--apply", metavar="FILE", help="Do it if the fleet is what the plan says"),
    click.option("--yes", is_flag=True, help="Ask nothing"),
)


def rollout_of(given: dict[str, Any]) -> Rollout:
    """Take what the flags of :func:`rollout_options` say out of all that were given.

    :raises click.UsageError: for one that means nothing without another.
    """
    for flag, needed in (("sleep", "batch"), ("gate_timeout", "gate"), ("limit_method", "limit")):
        if given.get(flag) is not None and given.get(needed) is None:
            raise click.UsageError(f"--{flag.replace('_', '-')} means nothing without --{needed}")
    gate, then = given.pop("gate", None), given.pop("on_failure", None)
    names = ("batch", "limit", "limit_seed", "max_failures", "plan", "apply")
    return Rollout(
        sleep=given.pop("sleep", None) or 0.0,
        limit_method=given.pop("limit_method", None) or "first",
        gate=gate is not None,
        gate_timeout=given.pop("gate_timeout", None) or Rollout().gate_timeout,
        undo=then == "undo",
        dry_run=given.pop("dry_run", False),
        yes=given.pop("yes", False),
        **{name: given.pop(name, None) for name in names},
    )


def rollout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say in which steps a change goes out, and what stops it."""
    for option in reversed(_ROLLOUT):
        command = option(command)
    return command
