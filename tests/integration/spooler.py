"""A service that publishes durable items as fast as they are accepted, until it is killed.

``python -m tests.integration.spooler SETTINGS``, a JSON document: ``port`` of the broker,
``file`` of the outbox, ``accepted`` (a file that gets the number of each accepted item),
``first`` number, ``most`` items, and ``pause`` in seconds between bursts. It ends by itself
once all that was accepted is in the stream.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from backplane import DataItem, Management

BURST = 20


async def produce(reactor: Any, settings: dict[str, Any]) -> None:
    """Publish, and write down what was accepted."""
    management = Management(
        {
            "name": "spooler",
            "identity": "spooler",
            "loglevel": "critical",
            "auth": {"insecure": True},
            "brokers": [f"127.0.0.1:{settings['port']}"],
            "outbox": {"file": settings["file"], "max_items": 1_000_000, "max_bytes": 2**30},
        }
    )
    management.startService()
    log = os.open(settings["accepted"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    sys.stdout.write("started\n")
    sys.stdout.flush()
    number, end = settings["first"], settings["first"] + settings["most"]

    def put(number: int) -> Deferred[Any]:
        item = DataItem(str(number), destination="spool.data", durable=True)
        # One small write to a file that is opened to append is there after a SIGKILL.
        accepted = management.data_outbox.put(item)
        return accepted.addCallback(lambda _: os.write(log, b"%d\n" % number))

    while number < end:
        burst = range(number, min(number + BURST, end))
        await gatherResults([put(each) for each in burst])
        number = burst.stop
        await deferLater(reactor, settings["pause"], lambda: None)
    while management.data_outbox.statistics.items:
        await deferLater(reactor, 0.02, lambda: None)
    await management.stopService()


def main() -> None:
    """Run."""
    settings = json.loads(sys.argv[1])
    react(lambda reactor: Deferred.fromCoroutine(produce(reactor, settings)))


if __name__ == "__main__":
    main()
