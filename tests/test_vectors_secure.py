"""Every captured signed request, asked of services with certificates, gets the captured answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.security.test_secure_vectors import CACHE_ONLY, REFUSED
from tests.test_vectors_requests import compare_bodies, compare_layers, compare_status
from tests.vectors_fleet import Answers, captured_answers
from tests.vectors_fleet_secure import fleet_of, replayed
from tests.vectors_support import (
    ANSWERED_HERE_ONLY,
    ANSWERED_OTHERWISE,
    SILENT_HERE,
    Kind,
    Scenario,
    scenarios,
)

HERE_ONLY: Final = {
    **{
        _name.replace("insecure", "secure"): agent
        for _name, (agent, _) in ANSWERED_HERE_ONLY.items()
    },
    # A server of 0.23 had another certificate in its cache; we have none on disk.
    **{f"secure/{_name}": "backplane" for _name in CACHE_ONLY},
}
"""Scenarios that only we answer, and which agent does; as in the insecure mode, and two more."""

SILENT: Final = {name.replace("insecure", "secure") for name in SILENT_HERE}
OTHERWISE: Final = {
    name.replace("insecure", "secure"): listed for name, listed in ANSWERED_OTHERWISE.items()
}


class SecureRequestTests(SynchronousTestCase):
    """The captured requests of the secure mode, asked of us at their time."""

    def setUp(self) -> None:
        self.folder = self.mktemp()

    def all(self) -> Iterator[tuple[Scenario, Answers, Answers]]:
        """Return each scenario with what was captured and what we answered."""
        for scenario in scenarios("secure").values():
            asked = {each.opened().envelope["requestid"] for each in scenario.of(Kind.REQUEST)}
            ours, _ = replayed(fleet_of(scenario), self.folder)
            yield (
                scenario,
                captured_answers(scenario),
                {key: answers for key, answers in ours.items() if key[1] in asked},
            )

    def test_who_answers(self) -> None:
        """Whoever answered, answers: on the same subject, as often."""
        total, only_here, silent = 0, set(), set()
        for scenario, captured, ours in self.all():
            for key in captured.keys() | ours.keys():
                counts = len(captured.get(key, ())), len(ours.get(key, ()))
                total += counts[0]
                if counts[0] == counts[1]:
                    continue
                told = f"{scenario.name}: {key} answered {counts[0]} times, by us {counts[1]}"
                if scenario.name in SILENT:
                    self.assertEqual(counts[1], 0, told)
                    silent.add(scenario.name)
                    continue
                self.assertIn(scenario.name, HERE_ONLY, told)
                self.assertEqual(counts, (0, 1), told)
                self.assertEqual(ours[key][0].envelope["agent"], HERE_ONLY[scenario.name], told)
                only_here.add(scenario.name)
        known = scenarios("secure").keys()
        self.assertEqual(only_here, HERE_ONLY.keys() & known)
        self.assertEqual(silent, SILENT & known)
        self.assertGreater(total, 550)

    def test_refused(self) -> None:
        """What the captured servers refused is met with silence; there is something to refuse."""
        refused = Counter[str]()
        for scenario, captured, ours in self.all():
            name = scenario.name.rpartition("/")[2]
            if name.removeprefix("server-") in REFUSED:
                self.assertEqual((captured, ours), ({}, {}), name)
                refused[name] = len(scenario.of(Kind.REQUEST))
        self.assertEqual({name.removeprefix("server-") for name in refused}, REFUSED.keys())
        self.assertGreater(min(refused.values()), 0)

    def test_what_is_answered(self) -> None:
        """Each answer is the captured one, its hash right, but for what the tables leave out."""
        otherwise = set()
        wrong: list[str] = []
        for scenario, captured, ours in self.all():
            for key in captured.keys() & ours.keys():
                for wanted, given in zip(captured[key], ours[key], strict=True):
                    found = compare_layers(wanted, given)
                    if scenario.name in OTHERWISE and isinstance(wanted.body, dict):
                        otherwise.add(scenario.name)
                        found += compare_status(wanted, given, OTHERWISE[scenario.name])
                    else:
                        found += compare_bodies(wanted, given)
                    wrong += [f"{scenario.name} {key[2]} {each}" for each in found]
        self.assertEqual(wrong, [])
        self.assertEqual(otherwise, OTHERWISE.keys() & scenarios("secure").keys())

    def test_what_was_done(self) -> None:
        """Signed changes reached the applications as often as the captured ones changed them."""
        for name in ("go", "ruby"):
            done: Counter[str] = Counter()
            for scenario, captured, _ in self.all():
                if fleet_of(scenario) == name:
                    done.update(_changes(captured))
            _, applications = replayed(name, self.folder)
            for action in ("pause", "resume", "flip", "shutdown"):
                calls = sum(each.calls.count(action) for each in applications)
                self.assertEqual(calls, done[action], f"{name}: {action}")
            self.assertGreater(done["flip"], 3, name)


def _changes(answers: Answers) -> Iterator[str]:
    for opened in (each for several in answers.values() for each in several):
        if opened.envelope["agent"] == "backplane" and opened.body["statuscode"] == 0:
            yield opened.body["action"]
