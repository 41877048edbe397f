"""What waits for answers: for the first one, or for many until enough have come.

Each is told of every message on its reply subject, and of its end; it ends once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from backplane.nats.errors import NoResponders, RequestTimeout
from backplane.nats.message import Message

__all__ = ["Enough", "Many", "One", "Waiting", "check_positive", "is_empty"]

_NOBODY: Final = 503


@attrs.frozen(kw_only=True)
class Enough:
    """When answers are enough (ADR-47).

    :ivar timeout: seconds from the request on.
    :ivar stall: seconds from one answer to the next; ``None`` for as long as ``timeout`` lasts.
    :ivar most: number of answers, or ``None``.
    :ivar sentinel: says that a message is no answer but the end of them.
    :raises ValueError: for a number that is not above 0.
    :raises TypeError: for what is not a number.
    """

    timeout: float
    stall: float | None = None
    most: int | None = None
    sentinel: Callable[[Message], bool] | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("timeout", "stall", "most"):
            value = getattr(self, name)
            if value is not None or name == "timeout":
                check_positive(value, name)


def check_positive(value: object, name: str) -> None:
    """Check a number; :raises ValueError: when it is not above 0, or TypeError for no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} is above 0, not {value}")


def is_empty(message: Message) -> bool:
    """Say whether a message has no payload: the usual ``sentinel``."""
    return not message.payload


class Waiting:
    """Somebody who waits for answers.

    :param subject: where the request went.
    :param timeout: seconds, above 0.
    :param over: called once, when nothing more is waited for.
    :ivar done: what the caller has.
    """

    def __init__(
        self, subject: str, timeout: float, clock: IReactorTime, over: Callable[[], None]
    ) -> None:
        self.subject = subject
        self.done: Deferred[Any] = Deferred(self._cancelled)
        self._timeout = timeout
        self._over = over
        self._ended = False
        self._timer: IDelayedCall = clock.callLater(timeout, self._late)

    def take(self, message: Message) -> None:
        """Take a message."""
        raise NotImplementedError

    def _late(self) -> None:
        raise NotImplementedError

    def _cancelled(self, done: Deferred[Any]) -> None:
        self.abandon()

    def fail(self, error: Exception) -> None:
        """End with an error."""
        if self.abandon():
            self.done.errback(Failure(error))

    def end(self, result: Any) -> None:
        """End with a result."""
        if self.abandon():
            self.done.callback(result)

    def abandon(self) -> bool:
        """End with nothing; return whether it had not ended before."""
        if self._ended:
            return False
        self._ended = True
        if self._timer.active():
            self._timer.cancel()
        self._over()
        return True


class One(Waiting):
    """Waits for the first answer; others are not for it."""

    def take(self, message: Message) -> None:
        """See :class:`Waiting`."""
        if tells_of_nobody(message):
            self.fail(nobody(self.subject))
        else:
            self.end(message)

    def _late(self) -> None:
        self.fail(RequestTimeout(f"no answer from {self.subject} within {self._timeout:g} s"))


class Many(Waiting):
    """Collects answers.

    :param each: called with each; what it raises is how this ends.
    """

    def __init__(
        self,
        subject: str,
        enough: Enough,
        clock: IReactorTime,
        over: Callable[[], None],
        each: Callable[[Message], Any] | None,
    ) -> None:
        self._clock = clock
        self._enough = enough
        self._each = each
        self._answers: list[Message] = []
        self._stall: IDelayedCall | None = None
        super().__init__(subject, enough.timeout, clock, over)

    def take(self, message: Message) -> None:
        """See :class:`Waiting`."""
        if self._ended:
            return
        if tells_of_nobody(message):
            if self._answers:
                self.end(self._answers)
            else:
                self.fail(nobody(self.subject))
            return
        enough = self._enough
        try:
            if enough.sentinel is not None and enough.sentinel(message):
                self.end(self._answers)
                return
            self._answers.append(message)
            if self._each is not None:
                self._each(message)
        except Exception as error:
            self.fail(error)
            return
        if self._ended:  # by the caller, from inside
            return
        if enough.most is not None and len(self._answers) >= enough.most:
            self.end(self._answers)
        elif enough.stall is not None:
            if self._stall is None:
                self._stall = self._clock.callLater(enough.stall, self._late)
            else:
                self._stall.reset(enough.stall)

    def abandon(self) -> bool:
        """See :class:`Waiting`."""
        if self._stall is not None and self._stall.active():
            self._stall.cancel()
        return super().abandon()

    def _late(self) -> None:
        self.end(self._answers)


def tells_of_nobody(message: Message) -> bool:
    """Say whether a message is a server's notice that nobody listens."""
    return message.headers is not None and not message.payload and message.status == _NOBODY


def nobody(subject: str) -> NoResponders:
    """Return the error for that."""
    return NoResponders(f"nobody listens on {subject}")
