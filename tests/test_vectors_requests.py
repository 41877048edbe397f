"""Every captured request, asked of services in memory, gets the captured answer."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from tests.vectors_fleet import Answers, captured_answers, fleet_of, replayed
from tests.vectors_support import (
    ADDED,
    ANSWERED_HERE_ONLY,
    ANSWERED_OTHERWISE,
    LEFT_OUT,
    SILENT_HERE,
    Kind,
    Opened,
    Scenario,
    compare_data,
    scenarios,
    unused,
)


class RequestTests(SynchronousTestCase):
    """The captured requests, asked of us."""

    def all(self) -> Iterable[tuple[Scenario, Answers, Answers]]:
        """Return each scenario with what was captured and what we answered."""
        for scenario in scenarios().values():
            asked = {each.opened().envelope["requestid"] for each in scenario.of(Kind.REQUEST)}
            ours = replayed(fleet_of(scenario))
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
                if scenario.name in SILENT_HERE:
                    self.assertEqual(counts[1], 0, told)
                    silent.add(scenario.name)
                    continue
                self.assertIn(scenario.name, ANSWERED_HERE_ONLY, told)
                self.assertEqual(counts, (0, 1), told)
                agent = ours[key][0].envelope["agent"]
                self.assertEqual(agent, ANSWERED_HERE_ONLY[scenario.name][0], told)
                only_here.add(scenario.name)
        self.assertEqual(only_here, set(ANSWERED_HERE_ONLY))
        self.assertEqual(silent, set(SILENT_HERE))
        self.assertGreater(total, 450)

    def test_what_is_answered(self) -> None:
        """Each answer is the captured one, but for what the tables leave out."""
        otherwise = set()
        wrong: list[str] = []
        for scenario, captured, ours in self.all():
            for key in captured.keys() & ours.keys():
                for wanted, given in zip(captured[key], ours[key], strict=True):
                    found = compare_layers(wanted, given)
                    if scenario.name in ANSWERED_OTHERWISE and isinstance(wanted.body, dict):
                        otherwise.add(scenario.name)
                        found += compare_status(wanted, given, ANSWERED_OTHERWISE[scenario.name])
                    else:
                        found += compare_bodies(wanted, given)
                    wrong += [f"{scenario.name} {key[2]} {each}" for each in found]
        self.assertEqual(wrong, [])
        self.assertEqual(otherwise, set(ANSWERED_OTHERWISE))
        self.assertEqual(unused([*LEFT_OUT, *ADDED]), [])


def compare_layers(wanted: Opened, given: Opened) -> list[str]:
    """Return where headers, secure reply and envelope differ; times and hops may."""
    found = [] if given.hash_is_right else ["the hash is not the message's"]
    if not isinstance(given.envelope["time"], int):
        found.append(f"time {given.envelope['time']!r}")
    for name, captured, ours, free in (
        ("headers", wanted.headers, given.headers, {"seen-by"}),
        ("secure reply", wanted.secure, given.secure, {"message", "hash"}),
        ("reply", wanted.inner, given.inner, {"message", "envelope"}),
        ("envelope", wanted.envelope, given.envelope, {"time"}),
    ):
        if name != "headers" and captured.keys() != ours.keys():
            found.append(f"{name}: {sorted(captured)} captured, {sorted(ours)} here")
        kept = [{k: v for k, v in each.items() if k not in free} for each in (captured, ours)]
        if kept[0] != kept[1]:
            found.append(f"{name}: {kept[0]} captured, {kept[1]} here")
    return found


def compare_bodies(wanted: Opened, given: Opened) -> list[str]:
    """Return where what the agents said differs."""
    if not isinstance(wanted.body, dict) or not isinstance(given.body, dict):
        same = wanted.body == given.body
        return [] if same else [f"{wanted.body!r} captured, {given.body!r} here"]
    action = f"{wanted.envelope['agent']}#{wanted.body['action']}"
    captured, ours = dict(wanted.body), dict(given.body)
    found = compare_data(action, captured.pop("data"), ours.pop("data"))
    return found if captured == ours else [*found, f"{captured} captured, {ours} here"]


def compare_status(wanted: Opened, given: Opened, listed: tuple[int, str, str]) -> list[str]:
    """Return how an answer that is another on purpose differs from what is listed."""
    found = []
    if (wanted.body["statuscode"], wanted.body["statusmsg"]) == listed[:2]:
        found.append("listed as another answer, and is none")
    if (given.body["statuscode"], given.body["statusmsg"]) != listed[:2]:
        found.append(f"{given.body} here")
    if given.body["action"] != wanted.body["action"]:
        found.append(f"action {given.body['action']!r} here")
    if given.body["statuscode"] == wanted.body["statuscode"]:
        found += compare_data("", wanted.body["data"], given.body["data"])
    return found
