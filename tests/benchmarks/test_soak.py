"""A soak finds what is wrong, and a short one finds nothing; how fast is asked of nobody."""

from __future__ import annotations

import json
import random
import socket
from base64 import b64encode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak.children import Child
from benchmarks.soak.consumer import Arrivals
from benchmarks.soak.framing import Framing
from benchmarks.soak.items import Item, text_of
from benchmarks.soak.judging import ENOUGH, WARM, judge_durable, judge_plain, judge_usage
from benchmarks.soak.plan import Plan
from benchmarks.soak.proxy import TO_BROKER, Cut
from benchmarks.soak.run import soak
from benchmarks.soak.telling import failed, line_of, table


def document(text: str) -> bytes:
    """Return a document around the data of an item."""
    secure = json.dumps({"message": json.dumps({"message": text})}).encode()
    return json.dumps({"data": b64encode(secure).decode()}).encode()


class ItemTests(SynchronousTestCase):
    """What arrives is counted."""

    def test_arrivals(self) -> None:
        """Copies, late ones and strangers are told apart."""
        arrivals = Arrivals()
        for number in (0, 2, 2, 1, 1):
            arrivals.take(document(text_of(Item(7, number))))
        for bad in (b"{}", b"[", document("7 3 half"), document(text_of(Item(7, 3))[:-1])):
            arrivals.take(bad)
        self.assertEqual(arrivals.copies, {7: bytearray([1, 2, 2])})
        self.assertEqual(arrivals.late, {7: 1})
        self.assertEqual(len(arrivals.strange), 4)


class JudgingTests(SynchronousTestCase):
    """What counts as wrong."""

    def test_plain(self) -> None:
        """Lost, copied without need, and made up."""
        self.assertEqual(judge_plain("a", 3, [1, 2, 1], 1), [])
        (lost,) = judge_plain("a", 4, [1, 0, 1], 9)
        self.assertIn("2 plain items lost: 1, 3", lost)
        (copies,) = judge_plain("a", 2, [2, 2], 1)
        self.assertIn("2 copies", copies)
        (more,) = judge_plain("a", 1, [1, 1], 0)
        self.assertIn("1 items that nobody has published", more)

    def test_durable(self) -> None:
        """Lost, twice, and made up."""
        self.assertEqual(judge_durable("a", 2, [1, 1]), [])
        self.assertIn("1 durable items lost: 1", judge_durable("a", 2, [1])[0])
        self.assertIn("in the stream twice: 0", judge_durable("a", 2, [2, 1])[0])
        self.assertIn("nobody", judge_durable("a", 1, [1, 1])[0])

    def test_usage(self) -> None:
        """Growth from the first quarter to the last; not before, and not of too few samples."""
        flat = [20.0] * (WARM + ENOUGH)
        grown = [*flat[:-2], 21.0, 21.0]
        early = [*([5.0] * WARM), *flat[WARM:]]
        others = dict.fromkeys(("memory", "delayed", "objects"), flat)
        for files in (flat, early, grown[WARM:]):
            self.assertEqual(judge_usage("a", {**others, "files": files}), [])
        (wrong,) = judge_usage("a", {**others, "files": grown})
        self.assertIn("files grew from 20 to 21", wrong)


class CuttingTests(SynchronousTestCase):
    """Connections end in the middle of a message."""

    def test_framing(self) -> None:
        """Messages are found however they are cut."""
        stream = (
            b"CONNECT {}\r\nPUB a 5\r\nPUB 1\r\nPING\r\nHPUB b r 12 14\r\nNATS/1.0\r\n\r\nxy\r\n"
        )
        whole = Framing().feed(stream)
        self.assertEqual(next(stream[place : place + size] for place, size in whole), b"PUB 1\r\n")
        self.assertEqual([size for _, size in whole], [7, 16])
        framing = Framing()
        pieces = [framing.feed(stream[place : place + 1]) for place in range(len(stream))]
        self.assertEqual([size for piece in pieces for _, size in piece], [7, 16])
        self.assertRaises(ValueError, Framing().feed, b"x" * 70_000)

    def test_cut(self) -> None:
        """Part of a message passes, and at least what says that it comes."""
        message = b"PUB a 50\r\n%b\r\n" % (b"x" * 50)
        for seed in range(50):
            cut = Cut(random.Random(seed))
            passed = 0
            while (kept := cut.keep(message)) is None:
                passed += 1
            self.assertLess(passed, 30)
            self.assertEqual(kept, message[: len(kept)])
            self.assertIn(len(kept), range(10, len(message)))

    def test_proxy(self) -> None:
        """Who sends is reset, who receives gets half; one in so many, and none while it is shut."""
        with socket.create_server(("127.0.0.1", 0)) as broker:
            proxy = Child(
                "benchmarks.soak.proxy",
                {"broker": broker.getsockname()[1], "seed": 3, "one_in": 1},
                log=Path(self.mktemp()),
                patience=60,
            )
            self.addCleanup(proxy.close)
            port = proxy.hear()
            near = socket.create_connection(("127.0.0.1", port), 60)
            self.addCleanup(near.close)
            far, _ = broker.accept()
            self.addCleanup(far.close)
            far.settimeout(60)
            rng = random.Random(3)
            rng.randrange(1)  # which one of a group it is
            direction = Cut(rng)
            message = b"PUB a 50\r\n%b\r\n" % (b"x" * 50)
            sender, receiver = (near, far) if direction.direction == TO_BROKER else (far, near)
            sender.sendall(message * 30)
            got = b""
            while part := receiver.recv(4096):
                got += part
            self.assertNotEqual(len(got) % len(message), 0)
            self.assertEqual(got, (message * 30)[: len(got)])
            self.assertRaises(ConnectionResetError, sender.recv, 1)
            counts = proxy.ask("counts")
            self.assertEqual((counts["connections"], counts["waiting"]), (1, 0))
            self.assertEqual(counts[direction.direction], 1)
            self.assertEqual(proxy.ask("shut"), "shut")
            self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port))
            self.assertEqual(proxy.ask("open"), "open")
            socket.create_connection(("127.0.0.1", port), 60).close()


class SoakTests(SynchronousTestCase):
    """Everything, small."""

    def test_short(self) -> None:
        """The broker is stopped and killed, connections are cut, and nothing is wrong."""
        lines: list[str] = []
        plan = Plan(
            services=4,
            processes=2,
            every=0,
            restarts=2,
            one_in=3,
            plain=20,
            durable=20,
            spooled=2,
            outage=0.2,
            commands=("pause", "resume"),
        )
        found = soak(plan, lambda found, cycle: lines.append(line_of(found, cycle)))
        self.assertEqual(failed(found), [])
        self.assertEqual([each.end for each in found.cycles], ["start", "stop", "kill"])
        self.assertEqual((len(lines), len(found.services)), (3, 4))
        self.assertEqual((found.commands, found.answers), (6, 24))
        counts = found.cycles[-1].counts
        self.assertGreaterEqual(counts["connections"], 4 * 3)
        self.assertGreaterEqual(counts["to the broker"] + counts["to the service"], 1)
        for kind, arrivals in enumerate((found.plain, found.durable)):
            self.assertEqual(sorted(arrivals.copies), [0, 1, 2, 3])
            accepted = [end["accepted"][kind] for end in found.services]
            self.assertEqual([len(arrivals.copies[each]) for each in range(4)], accepted)
            self.assertGreater(min(accepted), 0)
        self.assertIn("cut mid-message", table(found))
