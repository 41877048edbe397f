"""The work that one message may cause, each bound with its worst case.

What passes is decided by counted steps, so that the outcome is the same on every
machine. How long each case took, as a multiple of one RSA verification measured in
the same run, is written into the log of the test run.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.budget import DEFAULT_STEPS, Budget
from backplane.choria.filter import MAX_ENTRIES, MAX_TEXT, FactFilter, Filter
from backplane.node import admission as module
from backplane.node.admission import MAX_PAYLOAD, Admission
from backplane.node.outcome import Accepted, Dropped, Outcome
from backplane.patterns import MAX_SUBJECT, compile_pattern
from backplane.security.replay import MAX_PER_CALLER, MAX_TOTAL, ReplayMemory
from backplane.security.roles import Role, Roles
from backplane.security.signing import InsecureVerifier
from tests.node.messages import COLLECTIVE, IDENTITY, NOW, request

SUBJECT = f"{COLLECTIVE}.broadcast.agent.backplane"

FACTS: dict[str, Any] = {
    "huge": "ab" * 500_000,
    "text": "ab" * (MAX_SUBJECT // 2),
    "many": {f"key{number:05}": number for number in range(5000)},
    "words": [f"word{number}" for number in range(3000)],
    "dc": "DC1",
}
CLASSES = tuple(f"role::c{number}" for number in range(1000))

# A modulus of 2,048 bits and the usual exponent: the arithmetic of one verification.
MODULUS = (1 << 2047) + 9_999_991
SIGNATURE = pow(3, 12_345, MODULUS)


def verify_rsa() -> int:
    return pow(SIGNATURE, 65_537, MODULUS)


def seconds(call: Callable[[], object], times: int) -> float:
    """Return the shortest time of a few calls."""
    taken = []
    for _ in range(times):
        began = perf_counter()
        call()
        taken.append(perf_counter() - began)
    return min(taken)


class BoundTests(SynchronousTestCase):
    """Strangers cannot make a service work hard."""

    log = Logger()

    def setUp(self) -> None:
        self.budgets: list[Budget] = []
        outer = self

        class Counted(Budget):
            def __init__(self) -> None:
                super().__init__()
                outer.budgets.append(self)

        self.patch(module, "Budget", Counted)
        compile_pattern("warm")
        self.admission = self.make()

    def make(self, replay: ReplayMemory | None = None) -> Admission:
        def facts(role: Role | None) -> Mapping[str, Any]:
            return FACTS

        return Admission(
            identity=IDENTITY,
            collectives=(COLLECTIVE,),
            agents=lambda: ("backplane", "discovery", "rpcutil", "choria_util"),
            facts=facts,
            classes=lambda: CLASSES,
            verifier=InsecureVerifier(),
            role_of=Roles.compile(insecure=True).role_of,
            replay=replay if replay is not None else ReplayMemory(),
            started=NOW - 3600,
            is_change=lambda agent, body: False,
        )

    def admit(self, payload: bytes) -> Outcome:
        return self.admission.admit(payload, SUBJECT, NOW)

    def costs(self, what: str, payload: bytes) -> Outcome:
        """Admit, say what it took, and check that the steps were bounded."""
        outcome = self.admit(payload)
        for budget in self.budgets:
            # One step too many ends it; what is charged in advance is not done.
            self.assertTrue(budget.steps >= 0 or budget.exceeded)
            self.assertLessEqual(DEFAULT_STEPS - max(0, budget.steps), DEFAULT_STEPS)
        spent = sum(DEFAULT_STEPS - max(0, budget.steps) for budget in self.budgets)
        one = seconds(verify_rsa, 5)
        took = seconds(lambda: self.make().admit(payload, SUBJECT, NOW), 2)
        self.log.info(
            "{what}: {bytes} bytes, {steps} steps, {times:.1f} RSA verifications",
            what=what,
            bytes=len(payload),
            steps=spent,
            times=took / one,
        )
        return outcome

    def over_budget(self, what: str, wanted: Filter) -> None:
        before = self.admission.counters.over_budget
        outcome = self.costs(what, request(filter=wanted))
        assert isinstance(outcome, Dropped), outcome
        self.assertEqual(outcome.reason, "filtered")
        self.assertEqual(self.admission.counters.over_budget, before + 1, what)

    def test_plain_request(self) -> None:
        """What people send costs next to nothing."""
        self.assertIsInstance(self.costs("a plain request", request()), Accepted)
        self.assertEqual(self.budgets, [])

    def test_filters(self) -> None:
        """Filters that would run for seconds do not match, and are counted."""

        def facts(path: str, operator: str, value: str, times: int = 1) -> Filter:
            return Filter(fact=(FactFilter(path, operator, value),) * times)

        def expression(text: str) -> Filter:
            return Filter(compound=(({"expr": text},),))

        for what, wanted in (
            (
                "nested quantifiers on 1 MB",
                facts("huge", "=~", "((a{0,5}){0,5}|(b{0,5}){0,5}|(ab){0,5})*$z"),
            ),
            ("states without end", facts("text", "=~", "(a|b)*a(a|b){30}c")),
            ("a program too large", facts("dc", "=~", "(((a{9}){9}){9}){9}")),
            ("patterns without end", facts("dc", "=~", "[^D]*D[^C]*C", MAX_ENTRIES)),
            ("patterns over classes", Filter(cf_class=("/^x.*y$/",) * MAX_ENTRIES)),
            ("loops in loops", expression("any(0..1000, any(0..1000, # > 99999))")),
            ("a large range", expression("0..9223372036854775807 == nil")),
            ("whole facts as text", expression('toJSON(fact("words")) == ""')),
            ("wildcards in paths", facts("many.*9*9*9*9*x", "==", "1", MAX_ENTRIES)),
        ):
            self.budgets.clear()
            self.over_budget(what, wanted)
            # All filters of one request share one budget.
            self.assertLessEqual(len(self.budgets), 3)

    def test_many_filters_share(self) -> None:
        """A thousand cheap filters cost no more than one dear one."""
        each = FactFilter("many.key04999", ">=", "1")
        self.costs("a thousand fact filters", request(filter=Filter(fact=(each,) * MAX_ENTRIES)))
        spent = DEFAULT_STEPS - self.budgets[0].steps
        self.assertGreater(spent, MAX_ENTRIES)

    def test_identity_patterns(self) -> None:
        """Patterns that are tried before anybody is verified have a bound of their own."""
        wanted = Filter(identity=tuple(f"/x{number}(a|b)*y/" for number in range(MAX_ENTRIES)))
        outcome = self.costs("identity patterns", request(filter=wanted))
        assert isinstance(outcome, Dropped)
        self.assertEqual(outcome.reason, "filtered")

    def test_too_many_entries(self) -> None:
        """Beyond the bounds in number and length a filter is not looked at."""
        for what, wanted in (
            ("entries", Filter(identity=("x",) * (MAX_ENTRIES + 1))),
            ("characters", Filter(identity=("x" * (MAX_TEXT + 1),))),
        ):
            outcome = self.costs(f"too many {what}", request(filter=wanted))
            assert isinstance(outcome, Dropped)
            self.assertEqual(outcome.reason, "too_large")

    def test_largest_documents(self) -> None:
        """As many bytes as are read at all, in the shapes that are dearest to parse."""
        size = MAX_PAYLOAD
        inner = json.dumps({"protocol": "choria:secure:request:1", "message": "x" * (size // 2)})
        for what, payload, reason in (
            ("deep lists", b"[" * size, "too_many_values"),
            ("deep objects", b'{"a":' * (size // 5), "too_many_values"),
            ("empty lists", b"[" + b"[]," * (size // 3 - 1) + b"[]]", "too_many_values"),
            ("a long number", b"1" * size, "bad_number"),
            (
                "many keys",
                json.dumps({f"{n}": 0 for n in range(80_000)}).encode(),
                "too_many_values",
            ),
            ("deep", b'{"a":' * 65, "too_deep"),
            ("escapes", b'{"x":"' + b"\\u00e9" * (size // 6 - 9) + b'"}', "bad_protocol"),
            ("quotes", b'{"x":"' + b'\\"' * (size // 2 - 9) + b'"}', "bad_protocol"),
            (
                "base64",
                b'{"protocol":"choria:transport:1","headers":{"reply-to":"a.reply.b"},"data":"'
                + base64.b64encode(inner.encode())
                + b'"}',
                "missing_field",
            ),
            ("beyond", b" " * (size + 1), "too_large"),
        ):
            outcome = self.costs(what, payload)
            assert isinstance(outcome, Dropped)
            self.assertEqual(outcome.reason, reason, what)
            self.assertEqual(self.budgets, [])

    def test_flood(self) -> None:
        """Any number of requests leaves a memory of bounded size."""
        memory = ReplayMemory(max_total=100, max_per_caller=30)
        self.admission = self.make(memory)
        for number in range(1000):
            self.admit(request(caller=f"choria=c{number % 7}", request_id=f"{number:032}"))
            self.assertLessEqual(len(memory), 100)
        self.assertEqual(memory.unremembered, 900)
        # What it holds by default.
        self.assertLessEqual(MAX_PER_CALLER * 8, MAX_TOTAL)
