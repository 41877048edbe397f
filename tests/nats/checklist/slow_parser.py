"""P6 for as long as it asks for: ``python -m tests tests.nats.checklist.slow_parser``."""

from __future__ import annotations

import random
import time
import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.errors import ProtocolError
from backplane.nats.parser import Parser

SECONDS = 60.0
STARTS = (b"", b"MSG a 1 5\r\n", b"INFO ", b"-ERR ", b"HMSG a 1 9 20\r\n", b"PING\r\n+")


class SlowParserTests(SynchronousTestCase):
    """Random bytes."""

    def test_P6_a_minute(self) -> None:
        """Only protocol errors come of them, and memory stays flat."""
        rng = random.Random(66)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        end = time.monotonic() + SECONDS
        number = errors = before = 0
        while time.monotonic() < end:
            parser = Parser()
            number += 1
            try:
                parser.feed(rng.choice(STARTS))
                for _ in range(10):
                    parser.feed(rng.randbytes(rng.randrange(300)))
            except ProtocolError:
                errors += 1
            if number == 2000:
                before, _ = tracemalloc.get_traced_memory()
        now, _ = tracemalloc.get_traced_memory()
        self.assertGreater(number, 2000)
        self.assertGreater(errors, number // 2)
        self.assertLess(now - before, 50_000)
