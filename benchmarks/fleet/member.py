"""``python -m benchmarks.fleet.member``: many services in one process, each as if alone.

Its input is lines: the first one JSON with ``port``, ``first`` and ``count``; then ``paused``
asks how many of them are paused, ``resume`` resumes all, ``usage`` asks for CPU seconds and
resident bytes. Each is answered by a line. The end of its input ends it.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from backplane import Management
from backplane.testing import RecordingApplication

FACTS = {"dc": "dc1", "role": "web", **{f"fact_{number}": "x" * 60 for number in range(50)}}
"""Four kilobytes."""


class Members(LineOnlyReceiver):
    """Does what the lines say."""

    delimiter = b"\n"

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._applications: list[RecordingApplication] = []
        self._managements: list[Management] = []

    def lineReceived(self, line: bytes) -> None:
        """Take a line."""
        if not self._managements:
            self._begin(**json.loads(line))
        elif line == b"paused":
            self._say(sum(each.paused() for each in self._applications))
        elif line == b"resume":
            for each in self._applications:
                each.resume()
            self._say("done")
        elif line == b"usage":
            used = resource.getrusage(resource.RUSAGE_SELF)
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self._say([used.ru_utime + used.ru_stime, pages * resource.getpagesize()])

    def connectionLost(self, reason: object = None) -> None:
        """Nobody wants us any more."""
        stops = [Deferred.fromCoroutine(_stop(each)) for each in self._managements]
        gatherResults(stops).addBoth(lambda result: self._reactor.stop())

    def _begin(self, port: int, first: int, count: int) -> None:
        for number in range(first, first + count):
            application = RecordingApplication({**FACTS, "number": number}, "1.0")
            management = Management(
                {
                    "name": "fleet",
                    "identity": f"fleet{number:05}.example.net",
                    "loglevel": "critical",
                    "auth": {"insecure": True},
                    "brokers": [f"127.0.0.1:{port}"],
                },
                reactor=self._reactor,
                info_source=application,
                pausable=application,
                health_check=application,
            )
            management.startService()
            self._applications.append(application)
            self._managements.append(management)
        ready = gatherResults([each.when_ready() for each in self._managements])
        ready.addCallback(lambda result: self._say("ready"))

    def _say(self, value: object) -> None:
        self.sendLine(json.dumps(value).encode())


async def _stop(management: Management) -> None:
    await management.stopService()


def main() -> None:
    """Run until the input ends."""
    reactor: Any = default_reactor
    StandardIO(Members(reactor), reactor=reactor)
    reactor.run()


if __name__ == "__main__":
    main()
