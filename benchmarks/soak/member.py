"""``python -m benchmarks.soak.member``: services in one process, each as if alone, that publish.

Its input is lines. The first is JSON with ``port``, ``first``, ``count``, ``plain`` and
``durable`` (items of a service in a second), ``folder`` for files and ``spooled`` (one service in
so many has the outbox in a file). Then ``state`` asks how each of them is and which methods
operators have called since it was asked last, ``usage`` for what the process uses, ``confirmed``
for the confirmations since it was asked last; ``finish`` ends the publishing, and is answered
when the outboxes are empty. Each is answered by a line. The end of the input ends it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer

from backplane import Management
from backplane.testing import RecordingApplication
from benchmarks.soak.producing import Producer

__all__ = ["NAME"]

NAME = "soak"
"""Of the services."""

MOST_FAILURES = 100


@implementer(ILogObserver)
class Failures:
    """Remembers what was logged as a failure: no one expects any.

    :ivar texts: the first of them.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        """Take an event of the log."""
        failure = event.get("log_failure")
        if failure is not None and len(self.texts) < MOST_FAILURES:
            self.texts.append(f"logged: {failure.value!r}")


@attrs.frozen
class Service:
    """One of them."""

    application: RecordingApplication
    management: Management
    producers: tuple[Producer, ...]


class Members(LineOnlyReceiver):
    """Does what the lines say."""

    delimiter = b"\n"

    def __init__(self, reactor: Any, failures: Failures) -> None:
        self._reactor = reactor
        self._failures = failures
        self._services: list[Service] = []
        self._running: list[Deferred[None]] = []

    def lineReceived(self, line: bytes) -> None:
        """Take a line."""
        if not self._services:
            self._begin(**json.loads(line))
        elif line == b"state":
            self._say([self._state(each) for each in self._services])
        elif line == b"usage":
            self._say(self._usage())
        elif line == b"confirmed":
            self._say([self._confirmed(each.producers[0]) for each in self._services])
        elif line == b"finish":
            Deferred.fromCoroutine(self._finish()).addErrback(self._cannot).addCallback(self._say)

    def connectionLost(self, reason: object = None) -> None:
        """Nobody wants us any more."""
        stops = [Deferred.fromCoroutine(_stop(each.management)) for each in self._services]
        gatherResults(stops).addBoth(lambda result: self._reactor.stop())

    def _begin(
        self,
        port: int,
        first: int,
        count: int,
        plain: float,
        durable: float,
        folder: str,
        spooled: int,
    ) -> None:
        for number in range(first, first + count):
            application = RecordingApplication({"number": number}, "1.0")
            spool = {"file": f"{folder}/{number}.spool"} if number % spooled == 0 else {}
            management = Management(
                {
                    "name": NAME,
                    "identity": f"soak{number:05}.example.net",
                    "loglevel": "warn",
                    "auth": {"insecure": True},
                    "brokers": [f"127.0.0.1:{port}"],
                    "outbox": spool,
                },
                reactor=self._reactor,
                info_source=application,
                pausable=application,
                health_check=application,
            )
            management.startService()
            producers = tuple(
                Producer(self._reactor, management, number, rate, kind)
                for kind, rate in ((False, plain), (True, durable))
            )
            self._services.append(Service(application, management, producers))
        self._running = [one.start() for each in self._services for one in each.producers]
        ready = gatherResults([each.management.when_ready() for each in self._services])
        ready.addCallback(lambda result: self._say("ready"))

    def _state(self, service: Service) -> dict[str, Any]:
        calls, service.application.calls = service.application.calls, []
        return {
            "ready": service.management.state.ready,
            "paused": service.application._paused,
            "calls": [name for name in calls if name != "paused"],
        }

    def _usage(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return {
            "cpu": used.ru_utime + used.ru_stime,
            "memory": pages * resource.getpagesize(),
            "files": len(os.listdir("/proc/self/fd")),
            "delayed": len(self._reactor.getDelayedCalls()),
            "objects": len(gc.get_objects()),
            "waiting": sum(each.management.data_outbox.statistics.items for each in self._services),
            "failures": self._all_failures(),
        }

    def _all_failures(self) -> list[str]:
        producers = [one for each in self._services for one in each.producers]
        return [*self._failures.texts, *(text for one in producers for text in one.failures)]

    def _confirmed(self, producer: Producer) -> list[tuple[int, float]]:
        found = list(producer.confirmed)
        producer.confirmed.clear()
        return found

    async def _finish(self) -> list[dict[str, Any]]:
        producers = [one for each in self._services for one in each.producers]
        for one in producers:
            one.stop()
        await gatherResults(self._running)
        outboxes = [each.management.data_outbox for each in self._services]
        while any(outbox.statistics.items for outbox in outboxes):
            await deferLater(self._reactor, 0.05)
        return [self._end(each) for each in self._services]

    def _end(self, service: Service) -> dict[str, Any]:
        return {
            "statistics": attrs.asdict(service.management.data_outbox.statistics),
            "accepted": [one.accepted for one in service.producers],
            "unconfirmed": [one.unconfirmed for one in service.producers],
        }

    def _cannot(self, failure: Any) -> list[dict[str, Any]]:
        self._failures.texts.append(f"finish: {failure.value!r}")
        return []

    def _say(self, value: object) -> None:
        self.sendLine(json.dumps(value).encode())


async def _stop(management: Management) -> None:
    await management.stopService()


def main() -> None:
    """Run until the input ends."""
    reactor: Any = default_reactor
    failures = Failures()
    observers: list[ILogObserver] = [failures, textFileLogObserver(sys.stderr)]
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
    StandardIO(Members(reactor, failures), reactor=reactor)
    reactor.run()


if __name__ == "__main__":
    main()
