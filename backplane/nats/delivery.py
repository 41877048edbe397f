"""From the connection to one handler: in order, and within limits.

A handler that returns nothing is done when it returns. One that returns a Deferred,
or is a coroutine function, is busy until that has fired: what comes meanwhile waits,
and what does not fit is dropped. The reader of the connection never waits, so PINGs
are answered however slow a handler is.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from backplane.nats.message import Message
from backplane.nats.waiters import Waiters

__all__ = ["Delivery", "Limits"]


@attrs.frozen(kw_only=True)
class Limits:
    """What may be on the way to a handler, the messages counted that it has not finished.

    :ivar messages: how many, or ``None`` for any number.
    :ivar size: bytes of their payloads and headers, or ``None`` for any number. One
        message is taken whatever its size.
    """

    messages: int | None = 1000
    size: int | None = 16 * 1024 * 1024


class Delivery:
    """Messages on their way to one handler.

    :param callback: the handler.
    :param failed: told what it raised.
    :param concurrent: messages do not wait for one another.
    :ivar messages: how many are on the way, those included that the handler works on.
    :ivar size: bytes of them.
    :ivar handled: how many the handler was called with.
    """

    __slots__ = (
        "_busy", "_callback", "_calling", "_concurrent", "_failed", "_idle", "_limits",
        "_returned", "_waiting", "handled", "messages", "size",
    )  # fmt: skip

    def __init__(
        self,
        callback: Callable[[Message], Any],
        failed: Callable[[Failure], object],
        limits: Limits,
        concurrent: bool,
    ) -> None:
        self.messages = 0
        self.size = 0
        self.handled = 0
        self._callback = callback
        self._failed = failed
        self._limits = limits
        self._concurrent = concurrent
        self._waiting: deque[tuple[Message, int]] = deque()
        self._busy = False  # the next one must wait
        self._calling = False
        self._returned = False
        self._idle: Waiters | None = None

    def put(self, message: Message, size: int) -> bool:
        """Hand over a message, now or in its turn; return False if it is dropped."""
        if self.messages:
            if not self._fits(size):
                return False
            self.messages += 1
            self.size += size
            if self._busy:
                self._waiting.append((message, size))
                return True
        else:
            self.messages = 1
            self.size = size
        self._busy = True
        self.handled += 1
        try:
            result = self._callback(message)
        except Exception:
            self._failed(Failure())
            result = None
        if result is None and self.messages == 1 and self._idle is None:
            # The shortest way for what is the most usual.
            self.messages = self.size = 0
            self._busy = False
        elif self._done(result, size):
            self._go_on()
        return True

    def keep(self, count: int) -> None:
        """Drop all but the first of those that wait."""
        while len(self._waiting) > count:
            _, size = self._waiting.pop()
            self.messages -= 1
            self.size -= size

    def when_idle(self) -> Deferred[None]:
        """Fire when the handler has finished all that is on the way."""
        if not self.messages:
            return succeed(None)
        if self._idle is None:
            self._idle = Waiters()
        return self._idle.wait()

    def _fits(self, size: int) -> bool:
        limits = self._limits
        return (limits.messages is None or self.messages < limits.messages) and (
            limits.size is None or self.size + size <= limits.size
        )

    def _go_on(self) -> None:
        while self._waiting:
            message, size = self._waiting.popleft()
            self.handled += 1
            try:
                result = self._callback(message)
            except Exception:
                self._failed(Failure())
                result = None
            if not self._done(result, size):
                return
        self._busy = False

    def _done(self, result: object, size: int) -> bool:
        """Take what the handler has returned; return whether the next message may follow."""
        if inspect.iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        if not isinstance(result, Deferred):
            self._finished(size)
            return True
        result.addErrback(self._failed)
        if self._concurrent:
            result.addBoth(lambda _: self._finished(size))
            return True
        self._returned = False
        self._calling = True
        result.addBoth(self._resume, size)
        self._calling = False
        return self._returned

    def _resume(self, _: object, size: int) -> None:
        self._finished(size)
        if self._calling:  # it had fired already
            self._returned = True
        else:
            self._go_on()

    def _finished(self, size: int) -> None:
        self.messages -= 1
        self.size -= size
        if not self.messages and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.end()
