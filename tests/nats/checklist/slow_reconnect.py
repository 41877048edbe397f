"""R17, which takes minutes: ``python -m tests tests.nats.checklist.slow_reconnect``."""

from __future__ import annotations

import gc
import os
import tracemalloc
from typing import Any

from twisted.internet import reactor

from backplane.nats.connection import NatsConnection
from tests.nats.checklist.servers import RealCase

RESTARTS = 200


class SlowReconnectTests(RealCase):
    """A server that is restarted again and again."""

    timeout = 900

    def used(self) -> tuple[int, int, int]:
        """Return how many descriptors, delayed calls and connections there are."""
        gc.collect()
        clock: Any = reactor
        connections = sum(isinstance(each, NatsConnection) for each in gc.get_objects())
        return len(os.listdir("/proc/self/fd")), len(clock.getDelayedCalls()), connections

    async def test_R17_restarts(self) -> None:
        """After 200 restarts there is no more of anything than after a few."""
        server = await self.server()
        client = await self.connected(server)
        client.remove_listener(self.events.append)
        got = self.collect(client, "a")
        queue = self.collect(client, "b", "q")
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before: tuple[int, int, int] | None = None
        memory = 0
        for number in range(1, RESTARTS + 1):
            if number % 2:
                server.stop()
            else:
                server.kill()
            server.start()
            while client.counts()["reconnects"] < number:
                await self.turn(0.01)
            for subject in ("a", "b"):
                client.publish(subject, b"%d" % number)
            await client.flush()
            await client.flush()
            self.assertEqual((got.pop(), queue.pop()), (b"%d" % number, b"%d" % number))
            self.log_events.clear()
            if number == 20:
                before = self.used()
                memory, _ = tracemalloc.get_traced_memory()
        self.assertEqual((got, queue), ([], []))
        self.assertEqual(self.used(), before)
        now, _ = tracemalloc.get_traced_memory()
        self.assertLess(now - memory, 200_000)
        counts = client.counts()
        self.assertEqual((counts["connects"], counts["lost"]), (RESTARTS + 1, 0))
