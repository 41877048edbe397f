"""What a ledger is made of: changes, lines of the history, steps, refusals. Pure values."""

from __future__ import annotations

from typing import Final, Literal

import attrs
from attrs.validators import instance_of, optional

__all__ = ["APPLICATION", "Change", "Entry", "Outcome", "Reason", "Refused", "Step"]

APPLICATION: Final = "application"
"""Who has made a change that came from the application itself."""

_TEXT: Final = instance_of(str)
_NUMBER: Final = instance_of((int, float))

Reason = Literal["busy", "unexpected", "newer", "ended", "unknown", "full", "past"]
Outcome = Literal["done", "ended", "amended", "expired", "failed", "refused"]


@attrs.frozen(kw_only=True)
class Change:
    """A change that was made.

    :ivar before: the target's value when it was proposed; ``to`` the value that it gives it.
    :ivar who: caller id, or :data:`APPLICATION`.
    :ivar made: Unix time.
    :ivar until: Unix time at which the instance takes it back, or ``None``.
    :ivar run: the run of which it is a part, or ``""``.
    """

    id: str = attrs.field(validator=_TEXT)
    target: str = attrs.field(validator=_TEXT)
    before: str = attrs.field(validator=_TEXT)
    to: str = attrs.field(validator=_TEXT)
    who: str = attrs.field(validator=_TEXT)
    why: str = attrs.field(validator=_TEXT)
    made: float = attrs.field(validator=_NUMBER)
    until: float | None = attrs.field(default=None, validator=optional(_NUMBER))
    run: str = attrs.field(default="", validator=_TEXT)

    def over(self, now: float) -> bool:
        """Say whether it has run out."""
        return self.until is not None and self.until <= now


@attrs.frozen(kw_only=True)
class Entry:
    """One line of the history.

    :ivar at: Unix time.
    :ivar who: who did it; for what ran out, whose it was.
    :ivar what: in words, such as ``pause`` or ``app: running → paused``.
    :ivar outcome: ``done``, ``ended`` (taken back), ``amended``, ``expired``, ``failed`` or
        ``refused``.
    :ivar detail: why it failed or was refused.
    """

    at: float = attrs.field(validator=_NUMBER)
    who: str = attrs.field(validator=_TEXT)
    what: str = attrs.field(validator=_TEXT)
    outcome: Outcome
    why: str = attrs.field(default="", validator=_TEXT)
    detail: str = attrs.field(default="", validator=_TEXT)
    target: str = attrs.field(default="", validator=_TEXT)
    change: str = attrs.field(default="", validator=_TEXT)
    run: str = attrs.field(default="", validator=_TEXT)


@attrs.frozen
class Refused:
    """A proposal that is not carried out.

    :ivar reason: ``busy``: a step for the target is under way; ``unexpected``: it is not what
        the caller expects; ``newer``: a newer change lies on top; ``ended`` or ``unknown``:
        there is no such live change; ``full``: too many; ``past``: its end is not ahead.
    :ivar text: in words, names who is in the way.
    """

    reason: Reason
    text: str


@attrs.frozen(kw_only=True, eq=False)
class Step:
    """What is to be carried out: ``target`` becomes ``to``.

    :ivar who: on whose behalf; ``what`` in words.
    :ivar makes: the change that becomes live, or ``None`` where some are taken back.
    :ivar ends: changes that end by it.
    :ivar restores: whether ``to`` is what the target was before anybody changed it.
    """

    target: str
    before: str
    to: str
    who: str
    why: str
    kind: Literal["make", "end", "expire", "reinstate"]
    makes: Change | None = None
    ends: tuple[Change, ...] = ()
    restores: bool = False

    @property
    def what(self) -> str:
        """The step in words."""
        return f"{self.target}: {self.before} → {self.to}"
