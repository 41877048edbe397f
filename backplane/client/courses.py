"""Who is asked when: what a run lets others decide, and how it is without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from backplane.client.asking import Run

__all__ = ["AtOnce", "Batch", "Course"]


@attrs.frozen
class Batch:
    """Who is asked together.

    :ivar data: inputs of the action in place of the job's.
    """

    names: Sequence[str]
    data: Mapping[str, Any] | None = None


class Course(Protocol):
    """Who is asked when."""

    async def next(self, run: Run) -> Batch | None:
        """Return who is asked next, ``None`` for nobody any more.

        Whoever was asked before has answered then, or the time for it is over. What it
        waits for, it waits for with :meth:`~backplane.client.waiting.Waiting.sleep` or
        ``wait_for`` of the run, so that it ends with the run.
        """


class AtOnce:
    """Everybody at once."""

    async def next(self, run: Run) -> Batch | None:
        """See :class:`Course`."""
        return None if run.handed_out else Batch(sorted(run.found))
