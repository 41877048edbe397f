"""Kill a publishing service again and again, and see what is in the stream.

``python -m tests.integration.killing --kills 200``. Every item whose acceptance was
confirmed must be in the stream, once. Now and then the broker is away, so that the file
grows and what an earlier run has left is sent by a later one.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from backplane.nats.client import Message, NatsClient
from backplane.nats.jetstream import JetStream
from backplane.testing.natsserver import NatsServer

__all__ = ["Killing", "Outcome"]

STREAM: Final = "SPOOL"
WINDOW: Final = 3600 * 10**9
"""Nanoseconds of the stream's memory of message ids: longer than the whole."""

AWAY: Final = 5
"""Of so many runs, the broker is away in one."""

PATIENCE: Final = 120.0


@attrs.frozen
class Outcome:
    """What came of it.

    :ivar kills: how often the service was killed.
    :ivar accepted: items whose acceptance it had confirmed.
    :ivar stored: items in the stream.
    :ivar missing: accepted ones that are not there.
    :ivar doubled: those that are there more than once.
    :ivar early: stored ones whose acceptance was not confirmed before the kill.
    :ivar disordered: items that are in the stream behind a later one.
    :ivar left: most items that a killed run has left to the next.
    """

    kills: int
    accepted: int
    stored: int
    missing: int
    doubled: int
    early: int
    disordered: int
    left: int


class Killing:
    """The server, the stream and the service.

    :param folder: for files of this test.
    :param seed: of the moments.
    """

    def __init__(self, reactor: Any, folder: Path, seed: int) -> None:
        self._reactor = reactor
        self._folder = folder
        self._rng = random.Random(seed)
        self.server = NatsServer(config=f'jetstream: {{store_dir: "{folder / "js"}"}}')
        self._client: NatsClient | None = None
        self._first = 0
        self._left = 0

    async def run(self, kills: int) -> Outcome:
        """Kill it so often; return what came of it."""
        self.server.start()
        await self.server.when_ready(self._reactor)
        client = NatsClient([f"127.0.0.1:{self.server.port}"], self._reactor)
        client.startService()
        try:
            await client.when_connected()
            await JetStream(client).ask(
                f"STREAM.CREATE.{STREAM}",
                {
                    "name": STREAM,
                    "subjects": ["spool.>"],
                    "storage": "file",
                    "duplicate_window": WINDOW,
                },
            )
            for kill in range(kills):
                away = kill % AWAY == AWAY - 1
                if away:
                    self.server.stop()
                await self._kill_once()
                if away:
                    self.server.start()
                    await self.server.when_ready(self._reactor)
            await self._finish()
            await client.when_connected()
            return self._outcome(kills, await self._stored(client))
        finally:
            await client.stopService()
            self.server.close()

    def _spawn(self, most: int, pause: float) -> subprocess.Popen[bytes]:
        settings = {
            "port": self.server.port,
            "file": str(self._folder / "spool"),
            "accepted": str(self._folder / "accepted"),
            "first": self._first,
            "most": most,
            "pause": pause,
        }
        self._first += most
        command = [sys.executable, "-m", "tests.integration.spooler", json.dumps(settings)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"never came: {what}")
            await deferLater(self._reactor, 0.001, lambda: None)

    async def _kill_once(self) -> None:
        size = self._size()
        process = self._spawn(100_000, self._rng.choice([0, 0, 0.002, 0.01]))
        try:
            # From before the file is open, through what was left and the first commits, to
            # the middle of it all.
            if self._rng.random() < 0.8:
                await self._until(
                    lambda: self._size() > size or process.poll() is not None, "an accepted item"
                )
                await deferLater(self._reactor, self._rng.random() * 0.3, lambda: None)
            else:
                await deferLater(self._reactor, 0.2 + self._rng.random() * 0.8, lambda: None)
        finally:
            ended = process.poll()
            process.kill()
            process.communicate()
        if ended is not None:
            raise AssertionError(f"the service ended by itself, with {ended}")
        self._left = max(self._left, self._count_left())

    def _count_left(self) -> int:
        """Look into a copy: to open the file would be to mend it before the next run does."""
        copy = self._folder / "copy"
        for end in ("", "-wal"):
            if not (self._folder / f"spool{end}").exists():
                return 0
            shutil.copy(self._folder / f"spool{end}", f"{copy}{end}")
        with contextlib.closing(sqlite3.connect(copy)) as database:
            tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            row = database.execute("SELECT count(*) FROM items").fetchone() if tables else (0,)
        return int(row[0])

    def _size(self) -> int:
        path = self._folder / "accepted"
        return path.stat().st_size if path.exists() else 0

    async def _finish(self) -> None:
        """Let a last run send what is left."""
        process = self._spawn(10, 0)
        try:
            await self._until(lambda: process.poll() is not None, "the end of the last run")
        finally:
            process.kill()
            process.communicate()

    async def _stored(self, client: NatsClient) -> list[int]:
        """Return the numbers in the stream, in its order."""
        found: list[int] = []

        def take(message: Message) -> None:
            secure = json.loads(base64.b64decode(json.loads(message.payload)["data"]))
            found.append(int(json.loads(secure["message"])["message"]))

        api = JetStream(client)
        info = await api.ask(f"STREAM.INFO.{STREAM}")
        count = info["state"]["messages"]
        client.subscribe("killing.all", take)
        await api.ask(
            f"CONSUMER.CREATE.{STREAM}",
            {
                "stream_name": STREAM,
                "config": {"deliver_subject": "killing.all", "ack_policy": "none"},
            },
        )
        await self._until(lambda: len(found) >= count, "the whole stream")
        return found

    def _outcome(self, kills: int, stored: list[int]) -> Outcome:
        accepted = [int(line) for line in (self._folder / "accepted").read_text().split()]
        times = Counter(stored)
        disordered = highest = 0
        for number in stored:
            disordered += number < highest
            highest = max(highest, number)
        return Outcome(
            kills=kills,
            accepted=len(accepted),
            stored=len(stored),
            missing=sum(number not in times for number in accepted),
            doubled=sum(count > 1 for count in times.values()),
            early=len(set(stored) - set(accepted)),
            disordered=disordered,
            left=self._left,
        )


def main() -> None:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()

    async def run(reactor: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            outcome = await Killing(reactor, Path(folder), given.seed).run(given.kills)
            print(outcome, f"in {time.monotonic() - began:.0f} s")
            if outcome.missing or outcome.doubled:
                sys.exit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
