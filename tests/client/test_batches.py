"""Batches, limits, gates: everybody exactly once, in order, and never nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Answer
from backplane.client.batches import METHODS, Rollout, Size, Steps, pick, split
from backplane.client.gates import EVERY, LEAST, HealthGate

names = st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=40)
sizes = st.builds(Size, st.integers(1, 100), st.booleans())


class SizeTests(SynchronousTestCase):
    """``10`` and ``20%``."""

    def test_read(self) -> None:
        self.assertEqual(Size.parse("10"), Size(10))
        self.assertEqual(Size.parse("20%"), Size(20, percent=True))
        for text in ("", "%", "0", "0%", "101%", "-1", "1.5", "2 %", "+3", "٣", "1" * 30, "1%%"):
            self.assertRaises(ValueError, Size.parse, text)

    @given(sizes)
    def test_written(self, size: Size) -> None:
        """What is shown is read as the same."""
        self.assertEqual(Size.parse(str(size)), size)

    @given(sizes, st.integers(1, 10_000))
    def test_never_nobody(self, size: Size, total: int) -> None:
        """Of anybody at least one, never more than all, and no more than the share above one."""
        count = size.of(total)
        self.assertTrue(1 <= count <= total)
        if size.percent and count > 1:
            self.assertLessEqual(count * 100, total * size.value)
        self.assertEqual(size.of(0), 0)

    def test_shares(self) -> None:
        self.assertEqual(Size.parse("10%").of(5), 1)
        self.assertEqual(Size.parse("20%").of(5), 1)
        self.assertEqual(Size.parse("99%").of(5), 4)
        self.assertEqual(Size.parse("100%").of(5), 5)
        self.assertEqual(Size.parse("7").of(5), 5)


class SplitTests(SynchronousTestCase):
    """Who is in which batch."""

    @given(names, st.none() | sizes)
    def test_everybody_once(self, found: list[str], size: Size | None) -> None:
        """Everybody is in exactly one batch, in order; all but the last are of one size."""
        batches = split(found, size)
        self.assertEqual([name for batch in batches for name in batch], found)
        self.assertTrue(all(batches))
        self.assertLessEqual(len({len(batch) for batch in batches[:-1]}), 1)
        if found and size is not None:
            self.assertEqual(len(batches[0]), size.of(len(found)))
            self.assertLessEqual(len(batches[-1]), len(batches[0]))

    @given(names, sizes, st.sampled_from(METHODS), st.integers())
    def test_limit(self, found: list[str], size: Size, method: str, seed: int) -> None:
        """So many of those who are there, in order, the same again for the same seed."""
        chosen = pick(found, size, method, seed)  # type: ignore[arg-type]
        self.assertEqual(len(chosen), size.of(len(found)))
        self.assertEqual(list(chosen), [name for name in found if name in chosen])
        self.assertEqual(chosen, pick(found, size, method, seed))  # type: ignore[arg-type]
        if method == "first":
            self.assertEqual(list(chosen), found[: len(chosen)])
        else:
            # Who was chosen is among those of a greater limit.
            more = pick(found, Size(len(chosen) + 1), "random", seed)
            self.assertLessEqual(set(chosen), set(more))

    def test_random(self) -> None:
        """Other seeds choose others; without a seed each time others."""
        found = [f"app{number}" for number in range(50)]
        drawn = {pick(found, Size(5), "random", seed) for seed in range(20)}
        self.assertGreater(len(drawn), 15)
        self.assertGreater(len({pick(found, Size(5), "random") for _ in range(20)}), 15)
        self.assertEqual(pick(found, None), tuple(found))


class StepsTests(SynchronousTestCase):
    """Which batch is next."""

    @given(
        st.lists(names, min_size=1, max_size=6),
        st.none() | st.integers(0, 5),
        st.lists(st.integers(0, 3), min_size=6, max_size=6),
    )
    def test_stops(self, groups: list[list[str]], allowed: int | None, failing: list[int]) -> None:
        """It stops with the first batch after which too many have failed, and not before."""
        batches = [
            [f"{number}{name}" for name in group] for number, group in enumerate(groups) if group
        ]
        steps = Steps(batches, allowed)
        failed = 0
        for batch, count in zip(batches, failing, strict=False):
            self.assertEqual(steps.next(), tuple(batch))
            steps.failed(dict.fromkeys(batch[:count], "why"))
            failed += len(batch[:count])
            self.assertEqual(len(steps.failures), failed)
            self.assertEqual(bool(steps.halted), allowed is not None and failed > allowed)
            if steps.halted:
                break
        self.assertIsNone(steps.next())
        everybody = [name for batch in batches for name in batch]
        self.assertEqual([*steps.touched, *steps.untouched], everybody)

    def test_reason(self) -> None:
        """The first reason is kept."""
        steps = Steps([["a"], ["b"]], 1)
        steps.failed({"a": "x", "b": "y"})
        steps.halt("another")
        self.assertEqual(steps.halted, "2 failures, 1 allowed")
        self.assertEqual((steps.number, steps.ended), (0, True))

    def test_allowed(self) -> None:
        """In steps the first failure stops it, else nothing; unless the operator says so."""
        self.assertIsNone(Rollout().allowed)
        self.assertIsNone(Rollout(limit=Size(1), yes=True).allowed)
        self.assertEqual(Rollout(batch=Size(1)).allowed, 0)
        self.assertEqual(Rollout(gate=True).allowed, 0)
        self.assertEqual(Rollout(undo=True).allowed, 0)
        self.assertEqual(Rollout(batch=Size(1), max_failures=3).allowed, 3)


def health(name: str, healthy: object, status: int = 0, result: object = "") -> Answer:
    data = {"healthy": healthy, "result": result}
    return Answer(name, RpcReply(status, "denied" if status else "OK", data, "health"), 0.1)


class GateTests(SynchronousTestCase):
    """Whether a batch is healthy."""

    def test_everybody(self) -> None:
        """All of them at one time: who was healthy before does not count."""
        gate = HealthGate({"a": 1, "b": 1}, until=100.0)
        self.assertFalse(gate.passed)
        gate.looked([health("a", True), health("b", False, result="full")])
        self.assertEqual(gate.wrong, {"b": "full"})
        gate.looked([health("b", True)])
        self.assertEqual(gate.wrong, {"a": "no answer"})
        gate.looked([health("a", True), health("b", True), health("stranger", False)])
        self.assertTrue(gate.passed)

    def test_namesakes(self) -> None:
        """Both of one identity are asked."""
        gate = HealthGate({"a": 2}, until=100.0)
        gate.looked([health("a", True)])
        self.assertFalse(gate.passed)
        gate.looked([health("a", True), health("a", False)])
        self.assertEqual(gate.wrong, {"a": "unhealthy"})
        gate.looked([health("a", True), health("a", True)])
        self.assertTrue(gate.passed)

    def test_only_true(self) -> None:
        """Nothing but ``true`` is healthy, and no check is no health."""
        for answer in (health("a", "yes"), health("a", 1), health("a", None), health("a", True, 2)):
            gate = HealthGate({"a": 1}, until=100.0)
            gate.looked([answer])
            self.assertFalse(gate.passed, answer)

    def test_patience(self) -> None:
        """Asked once a second until patience is over, the last time when it is."""
        gate = HealthGate({"a": 1, "b": 1}, until=3.0)
        self.assertEqual(gate.wait(0.0, 0.2), EVERY - 0.2)
        self.assertEqual(gate.wait(0.0, 1.5), 0.0)
        self.assertEqual(gate.wait(2.5, 2.75), 0.25)
        self.assertIsNone(gate.wait(3.0, 3.0))
        self.assertEqual(gate.patience(0.0), 3.0)
        self.assertEqual(gate.patience(3.0), LEAST)
        gate.looked([health("a", False)])
        self.assertEqual(gate.reason, "the gate: a is not healthy: unhealthy (and 1 more)")
        gate.looked([health("a", True), health("b", True)])
        self.assertIsNone(gate.wait(0.0, 0.2))
