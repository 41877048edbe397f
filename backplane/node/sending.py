"""Sending: from the head of the backlog, and out of the outbox once the broker has it.

Plain items are confirmed by the broker's answer to two PINGs that were sent after them,
durable ones by their stream. Both are sent in the order of acceptance, many at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.node.backlog import Backlog
from backplane.node.entries import Entry, Tally
from backplane.node.streams import ACK_TIMEOUT, FIRST_PAUSE, Hold, Publisher, Verdict, judge, told

__all__ = ["Link", "Sender"]

WINDOW_ITEMS: Final = 512
"""Plain items that may be under way."""

WINDOW_BYTES: Final = 256 * 1024
"""The same in bytes: what can be repeated when a connection breaks."""

FLYING_ITEMS: Final = 1024
"""Durable items that may be under way."""

FLYING_BYTES: Final = 1024 * 1024
"""The same in bytes."""

QUIET: Final = 300.0
"""Seconds in which a subject that comes and goes is logged once."""

MAX_QUIET: Final = 1000
"""Subjects of which that is known."""


class Link(Protocol):
    """What the outbox needs of a connection (:class:`backplane.nats.client.NatsClient`)."""

    @property
    def is_connected(self) -> bool: ...

    def publish(self, subject: str, payload: bytes) -> None: ...

    def flush(self, timeout: float | None = None) -> Deferred[Any]: ...


class Sender:
    """What is under way.

    :param settle: called with each entry that has left: the broker has it, or, where it
        has a ``refusal``, never takes it.
    :param settled: called after some have left.
    """

    def __init__(
        self,
        link: Link,
        publisher: Publisher,
        backlog: Backlog,
        clock: IReactorTime,
        *,
        permanent: tuple[type[Exception], ...],
        tally: Tally,
        settle: Callable[[Entry], None],
        settled: Callable[[], None],
        log: Logger,
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._backlog = backlog
        self._clock = clock
        self._permanent = permanent
        self._tally = tally
        self._settle = settle
        self._settled = settled
        self._log = log
        self._sent: list[Entry] = []  # plain; no PING was sent after them yet
        self._flushing: list[Entry] = []
        self._window_bytes = 0
        self._flying: dict[int, Entry] = {}
        self._flying_bytes = 0
        self._holds: dict[str, Hold] = {}
        self._quiet: dict[str, float] = {}
        self._returned: list[Entry] = []  # sent in vain; not in their old places yet
        self._later: IDelayedCall | None = None
        self._pumping = False
        self._ended = False

    @property
    def under_way(self) -> list[Entry]:
        """What was sent and is not confirmed."""
        return [*self._flushing, *self._sent, *self._flying.values(), *self._returned]

    @property
    def held(self) -> int:
        """How many wait for a stream."""
        trying = sum(hold.trying is not None for hold in self._holds.values())
        return self._backlog.aside + trying

    def pump(self) -> None:
        """Send what may be sent now."""
        if self._ended or self._pumping:
            return
        self._pumping = True
        try:
            self.gather()
            if self._link.is_connected:
                while (entry := self._backlog.first()) is not None and self._send(entry):
                    pass
                self._flush()
            self._backlog.refill()
        finally:
            self._pumping = False

    def gather(self) -> None:
        """Put what was sent in vain back into the backlog."""
        returned, self._returned = self._returned, []
        self._backlog.back(returned)

    def connected(self) -> None:
        """There is a new connection: all subjects are tried, too."""
        for subject, hold in list(self._holds.items()):
            if hold.timer is not None:
                hold.cancel()
                self._try(subject)
        self.pump()

    def forbidden(self, subject: str, reason: str) -> None:
        """The broker refused a publish to ``subject``: its items under way are dropped."""
        for entry in self.under_way:
            if entry.sealed.subject == subject:
                entry.refusal = reason

    def end(self) -> None:
        """Send nothing more; what comes in from now on changes nothing."""
        self._ended = True
        for hold in self._holds.values():
            hold.cancel()
        if self._later is not None and self._later.active():
            self._later.cancel()

    # One entry

    def _send(self, entry: Entry) -> bool:
        """Send the first entry, or set it aside; say whether to go on with the next."""
        if entry.sealed.durable:
            if entry.sealed.subject in self._holds:
                self._backlog.set_aside(self._backlog.pop())
                return True
            if not _fits(entry, len(self._flying), self._flying_bytes, FLYING_ITEMS, FLYING_BYTES):
                return False
            self._backlog.pop()
            self._fly(entry)
            return self._link.is_connected
        count = len(self._sent) + len(self._flushing)
        if not _fits(entry, count, self._window_bytes, WINDOW_ITEMS, WINDOW_BYTES):
            return False
        try:
            self._link.publish(entry.sealed.subject, entry.sealed.payload)
        except self._permanent as error:
            entry.refusal = str(error)
        except Exception:
            # Not connected any more: the next connection starts from here.
            self._log.debug("publishing stopped: {reason}", reason=Failure().value)
            return False
        self._count_try(entry)
        self._sent.append(self._backlog.pop())
        self._window_bytes += entry.size
        return True

    def _count_try(self, entry: Entry) -> None:
        if entry.tries:
            self._tally.repeated += 1
        entry.tries += 1

    # Plain items

    def _flush(self) -> None:
        if self._flushing or not self._sent:
            return
        self._flushing, self._sent = self._sent, []
        # Twice: the broker answers the first PING while it still hands the items to their
        # subscribers, the second once it has tried.
        answered = self._link.flush(None).addCallback(lambda _: self._link.flush(None))
        answered.addCallbacks(self._confirmed, self._interrupted)

    def _confirmed(self, result: object) -> None:
        if self._ended:
            return
        entries, self._flushing = self._flushing, []
        for entry in entries:
            self._window_bytes -= entry.size
            self._settle(entry)
        self._settled()
        self.pump()

    def _interrupted(self, failure: Failure) -> None:
        if self._ended:
            return
        entries, self._flushing, self._sent = [*self._flushing, *self._sent], [], []
        self._window_bytes = 0
        self._log.debug("unconfirmed items will be sent again: {reason}", reason=failure.value)
        self._backlog.back(entries)
        self.pump()

    # Durable items

    def _fly(self, entry: Entry) -> None:
        self._count_try(entry)
        self._flying[entry.number] = entry
        self._flying_bytes += entry.size
        sealed = entry.sealed
        try:
            acknowledged = self._publisher.publish(
                sealed.subject,
                sealed.payload,
                message_id=sealed.message_id,
                timeout=ACK_TIMEOUT,
                retries=0,
            )
        except Exception:
            self._failed(Failure(), entry)
        else:
            acknowledged.addCallbacks(
                self._acknowledged, self._failed, callbackArgs=(entry,), errbackArgs=(entry,)
            )

    def _landed(self, entry: Entry) -> None:
        del self._flying[entry.number]
        self._flying_bytes -= entry.size

    def _acknowledged(self, ack: object, entry: Entry) -> None:
        if self._ended:
            return
        self._landed(entry)
        entry.refusal = None
        self._settle(entry)
        hold = self._holds.pop(entry.sealed.subject, None)
        if hold is not None:
            hold.cancel()
            count = self._backlog.call_back(entry.sealed.subject)
            self._log.debug(
                "durable items for {subject} are acknowledged again; {count} go on",
                subject=entry.sealed.subject,
                count=count,
            )
        self._settled()
        self.pump()

    def _failed(self, failure: Failure, entry: Entry) -> None:
        if self._ended:
            return
        self._landed(entry)
        subject, error = entry.sealed.subject, failure.value
        assert isinstance(error, Exception)
        verdict = Verdict.NEVER if entry.refusal is not None else judge(error, subject)
        hold = self._holds.get(subject)
        if verdict is Verdict.NEVER:
            entry.refusal = entry.refusal or told(error)
            self._settle(entry)
            if hold is not None and hold.trying == entry.number:
                hold.trying = None
                hold.timer = self._clock.callLater(0, self._try, subject)
        elif verdict is Verdict.DISCONNECTED and hold is None:
            self._returned.append(entry)
            if self._link.is_connected and (self._later is None or not self._later.active()):
                # There is a new one already, or it is about to be noticed.
                self._later = self._clock.callLater(FIRST_PAUSE, self.pump)
            return
        else:
            self._set_aside(entry, hold, told(error))
        self._settled()
        self.pump()

    def _set_aside(self, entry: Entry, hold: Hold | None, reason: str) -> None:
        subject = entry.sealed.subject
        self._backlog.set_aside(entry)
        if hold is None:
            self._holds[subject] = hold = Hold(reason)
            self._report(subject, hold)
        elif hold.trying != entry.number:
            return  # it was sent before its subject was waited for
        hold.trying = None
        hold.wait(self._clock, self._try, subject)

    def _try(self, subject: str) -> None:
        """Send the first one of a subject that is waited for."""
        hold = self._holds[subject]
        hold.timer = None
        if not self._link.is_connected:
            hold.wait(self._clock, self._try, subject)
            return
        entry = self._backlog.pop_aside(subject)
        if entry is None:  # dropped for newer ones, meanwhile
            del self._holds[subject]
            self.pump()
            return
        hold.trying = entry.number
        self._fly(entry)

    def _report(self, subject: str, hold: Hold) -> None:
        now = self._clock.seconds()
        if now < self._quiet.get(subject, now):
            return
        if len(self._quiet) >= MAX_QUIET:
            self._quiet.clear()
        self._quiet[subject] = now + QUIET
        self._log.error(
            "durable items for {subject} are kept and tried again: {reason}",
            subject=subject,
            reason=hold.reason,
        )


def _fits(entry: Entry, items: int, size: int, most_items: int, most_bytes: int) -> bool:
    return items < most_items and (not items or size + entry.size <= most_bytes)
