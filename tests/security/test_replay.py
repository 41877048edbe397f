"""The memory of requests that were acted upon."""

from __future__ import annotations

import hashlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from backplane.security.replay import GRACE, ReplayMemory, Verdict

ALICE = "choria=alice"
BOB = "choria=bob"


def digest(text: object) -> bytes:
    return hashlib.sha256(str(text).encode()).digest()


class ReplayTests(SynchronousTestCase):
    """One document acts once."""

    def test_second_time(self) -> None:
        """The same document again is a repeat, for reads and changes, until it is too old."""
        memory = ReplayMemory()
        for change in (False, True):
            document = digest(change)
            self.assertIs(memory.check(document, ALICE, 160, 100, change), Verdict.FRESH)
            self.assertIs(memory.check(document, ALICE, 160, 100, change), Verdict.REPEATED)
            self.assertIs(memory.check(document, ALICE, 160, 159.999, change), Verdict.REPEATED)
        self.assertEqual(memory.repeated, 4)

    def test_other_caller_same_document(self) -> None:
        """Who sends it makes no difference to a repeat."""
        memory = ReplayMemory()
        memory.check(digest(1), ALICE, 160, 100, True)
        self.assertIs(memory.check(digest(1), BOB, 160, 100, True), Verdict.REPEATED)

    def test_share_of_a_caller(self) -> None:
        """A caller who filled his share has changes refused and reads let pass; others go on."""
        memory = ReplayMemory(max_total=100, max_per_caller=3)
        for number in range(3):
            memory.check(digest(number), ALICE, 160, 100, number == 0)
        self.assertEqual(memory.share_of(ALICE), 3)
        self.assertIs(memory.check(digest("c"), ALICE, 160, 100, True), Verdict.FULL)
        self.assertIs(memory.check(digest("r"), ALICE, 160, 100, False), Verdict.UNREMEMBERED)
        self.assertIs(memory.check(digest("r"), ALICE, 160, 100, False), Verdict.UNREMEMBERED)
        self.assertIs(memory.check(digest("b"), BOB, 160, 100, True), Verdict.FRESH)
        self.assertEqual((memory.refused, memory.unremembered), (1, 2))
        # A repeat is still told from a request that finds no room.
        self.assertIs(memory.check(digest(0), ALICE, 160, 100, True), Verdict.REPEATED)

    def test_share_becomes_free(self) -> None:
        """Room comes back with the last valid second, and not before."""
        memory = ReplayMemory(max_total=100, max_per_caller=1)
        memory.check(digest(1), ALICE, 160, 100, True)
        self.assertIs(memory.check(digest(2), ALICE, 219.5, 159.5, True), Verdict.FULL)
        self.assertIs(memory.check(digest(2), ALICE, 219.5, 160, True), Verdict.FRESH)
        self.assertEqual(memory.share_of(ALICE), 1)

    def test_whole_is_bounded(self) -> None:
        """With the whole memory full, everyone's changes are refused and reads pass."""
        memory = ReplayMemory(max_total=3, max_per_caller=3)
        for number in range(3):
            memory.check(digest(number), f"choria=c{number}", 160, 100, True)
        self.assertIs(memory.check(digest("c"), ALICE, 160, 100, True), Verdict.FULL)
        self.assertIs(memory.check(digest("r"), ALICE, 160, 100, False), Verdict.UNREMEMBERED)
        self.assertEqual(len(memory), 3)

    def test_flood_leaves_a_bounded_memory(self) -> None:
        """Any number of requests of any number of callers over any time stays bounded."""
        memory = ReplayMemory(max_total=50, max_per_caller=10)
        for number in range(5000):
            now = number * 7.0
            memory.check(digest(number), f"choria=c{number % 37}", now + 600, now, True)
        self.assertLessEqual(len(memory), 50)
        self.assertLessEqual(len(memory._known), 100)
        self.assertEqual(len(memory._known), len(memory._live) + len(memory._over))
        self.assertLessEqual(len(memory._shares), 50)

    def test_clock_set_back_a_little(self) -> None:
        """After a step back of ten minutes an old document is still a repeat."""
        memory = ReplayMemory()
        memory.check(digest(1), ALICE, 160, 100, True)
        memory.check(digest(2), BOB, 800, 159 + GRACE, True)
        self.assertIs(memory.check(digest(1), ALICE, 160, 120, True), Verdict.REPEATED)
        self.assertIs(memory.check(digest(3), ALICE, 160, 120, True), Verdict.FRESH)

    def test_clock_set_back_far(self) -> None:
        """After a larger one, changes of times that were forgotten are refused, reads pass."""
        memory = ReplayMemory()
        memory.check(digest(1), ALICE, 160, 100, True)
        memory.check(digest(2), BOB, 900, 161 + GRACE, True)
        self.assertIs(memory.check(digest(1), ALICE, 160, 120, True), Verdict.UNCERTAIN)
        self.assertIs(memory.check(digest(3), ALICE, 160, 120, False), Verdict.UNREMEMBERED)
        # What is valid for longer than anything forgotten cannot have been seen.
        self.assertIs(memory.check(digest(4), ALICE, 161, 120, True), Verdict.FRESH)

    def test_needs_room(self) -> None:
        """A memory without room is a mistake of the program."""
        self.assertRaises(ValueError, ReplayMemory, 0, 1)
        self.assertRaises(ValueError, ReplayMemory, 1, 0)


class ReplayMachine(RuleBasedStateMachine):
    """The memory beside a model that never forgets anything."""

    documents = Bundle("documents")

    @initialize(total=st.integers(1, 6), share=st.integers(1, 4))
    def start(self, total: int, share: int) -> None:
        self.total = total
        self.share = share
        self.memory = ReplayMemory(total, share)
        self.now = 10_000.0
        self.latest = self.now
        self.acted: dict[bytes, tuple[str, float]] = {}
        # What was seen to be over counts against nobody again, even if the clock goes back.
        self.over: set[bytes] = set()
        self.made = 0

    @rule(target=documents, caller=st.sampled_from("abc"), ttl=st.sampled_from([1, 60, 600]))
    def make(self, caller: str, ttl: int) -> tuple[bytes, str, float]:
        return (*self.new_document(caller), self.now + ttl)

    def new_document(self, caller: str) -> tuple[bytes, str]:
        self.made += 1
        return digest(self.made), caller

    @rule(seconds=st.sampled_from([0.5, 60.0, 601.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.latest = max(self.latest, self.now)

    @precondition(lambda self: self.now > 5000)
    @rule(seconds=st.sampled_from([1.0, 100.0, 590.0]))
    def clock_goes_back(self, seconds: float) -> None:
        self.now -= seconds

    @rule(document=documents, seconds=st.sampled_from([500.0, 1500.0]))
    def clock_is_ahead_for_a_while(
        self, document: tuple[bytes, str, float], seconds: float
    ) -> None:
        self.time_passes(seconds)
        self.send((*self.new_document("d"), self.now + 30), True)
        self.now -= seconds
        self.send(document, True)

    @rule(document=documents, change=st.booleans())
    def send(self, document: tuple[bytes, str, float], change: bool) -> None:
        key, caller, valid_until = document
        if valid_until <= self.now:
            return  # admission has dropped it as too old
        self.over |= {key for key, (_, end) in self.acted.items() if end <= self.now}
        live = [owner for key, (owner, _) in self.acted.items() if key not in self.over]
        full = len(live) >= self.total or live.count(caller) >= self.share
        steady = self.latest - self.now < GRACE and len(self.over) <= self.total
        verdict = self.memory.check(key, caller, valid_until, self.now, change)
        if key in self.acted:
            # Whatever the clock did, one document never acts twice as a change.
            assert verdict is not Verdict.FRESH
            if steady or key not in self.over:
                assert verdict is Verdict.REPEATED
            if change:
                assert verdict is not Verdict.UNREMEMBERED
        elif full:
            assert verdict in ((Verdict.FULL, Verdict.UNCERTAIN) if change else (_PASSED,))
        elif steady or valid_until > max((end for _, end in self.acted.values()), default=0):
            assert verdict is Verdict.FRESH
        if verdict is Verdict.FRESH:
            self.acted[key] = (caller, valid_until)

    @invariant()
    def is_bounded(self) -> None:
        if hasattr(self, "memory"):
            assert len(self.memory) <= self.total
            assert len(self.memory._known) <= 2 * self.total + 1
            assert all(share.count <= self.share for share in self.memory._shares.values())


_PASSED = Verdict.UNREMEMBERED


class ReplayModelTests(SynchronousTestCase):
    """Any order of requests, passing time and steps of the clock."""

    def test_model(self) -> None:
        """The memory and a model that never forgets agree; no document acts twice."""
        run_state_machine_as_test(
            ReplayMachine,
            settings=settings(max_examples=400, stateful_step_count=40, deadline=None),
        )
