"""What people type, and what is made of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.filter import Filter, build_filter
from backplane.client.jobs import MAX_NAMES_SENT, NEEDS, READS, make_job


class FilterTests(SynchronousTestCase):
    """Who is meant."""

    def test_plain(self) -> None:
        """Without a filter everybody of the service is meant."""
        job = make_job("demo", "ping")
        self.assertEqual(
            (job.collective, job.agent, job.action, job.filter),
            ("demo_backplane", "backplane", "ping", Filter()),
        )
        self.assertEqual(job.rule.named, frozenset())

    def test_needs(self) -> None:
        """Who does not offer an action is not asked, with other filters too."""
        for action, fact in NEEDS.items():
            job = make_job("demo", action, facts=["dc=DC1"])
            self.assertEqual(job.filter, build_filter(facts=["dc=DC1", fact]))
        self.assertEqual(make_job("demo", "pause", agent="own").filter, Filter())

    def test_kinds(self) -> None:
        """Every kind of filter arrives."""
        job = make_job(
            "demo",
            "info",
            facts=["a=1"],
            identities=["one", "/^two/"],
            withs=["b=2 web"],
            classes=["db"],
            select=["true"],
        )
        self.assertEqual(
            job.filter,
            build_filter(
                facts=["a=1"],
                identities=["one", "/^two/"],
                withs=["b=2 web"],
                classes=["db"],
                select=["true"],
            ),
        )

    def test_refused(self) -> None:
        """What is empty, or cannot be, is an error and never no filter."""
        cases: tuple[dict[str, Any], ...] = (
            {"facts": [""]},
            {"facts": ["dc"]},
            {"facts": ["dc="]},
            {"facts": ["dc=/(/"]},
            {"facts": ["dc=~//"]},
            {"identities": [""]},
            {"identities": ["//"]},
            {"identities": ["/"]},
            {"identities": ["/(/"]},
            {"identities": ["/" + "a" * 5000 + "/"]},
            {"classes": [""]},
            {"classes": ["//"]},
            {"withs": [""]},
            {"withs": ["  "]},
            {"withs": ["//"]},
            {"withs": ["dc=DC1 /"]},
            {"withs": ["/(/"]},
            {"expect": -1},
            {"timeout": -1},
            {"timeout": float("nan")},
            {"window": float("nan")},
            {"discovery_timeout": float("inf")},
            {"agent_timeout": -0.5},
            {"select": [""]},
            {"select": ['with("dc=DC1"']},
            {"select": ["true", "true or"]},
            {"target": ""},
            {"target": "a b"},
            {"target": "a.>"},
            {"target": "*"},
            {"nodes": []},
            {"nodes": ["one", ""]},
            {"nodes": ["a b"]},
            {"nodes": ["one"], "identities": ["two"]},
            {"agent": ""},
            {"agent": "a.b"},
        )
        for case in cases:
            with self.assertRaises(ValueError, msg=str(case)):
                make_job("demo", "pause", **case)
        for service in ("", "Demo", "de mo", "demo.*", ">", "démo", "demo\n"):
            with self.assertRaises(ValueError, msg=service):
                make_job(service, "pause")
        with self.assertRaises(ValueError):
            make_job("demo", "")

    def test_text_for_a_list(self) -> None:
        """A text would be taken for a list of letters, each of which is another filter."""
        for kind in ("facts", "identities", "withs", "classes", "select", "nodes"):
            given: dict[str, Any] = {kind: "web1"}
            with self.assertRaises(TypeError, msg=kind) as caught:
                make_job("demo", "pause", **given)
            self.assertIn(f"{kind}=['web1']", str(caught.exception))

    @given(
        kind=st.sampled_from(["facts", "identities", "withs", "classes", "select"]),
        text=st.text(max_size=12),
    )
    def test_never_nothing(self, kind: str, text: str) -> None:
        """Whatever is typed, it is a filter or an error."""
        given: dict[str, Any] = {kind: [text]}
        try:
            job = make_job("demo", "ping", **given)
        except ValueError:
            return
        self.assertNotEqual(job.filter, Filter())

    def test_target(self) -> None:
        """Another collective."""
        self.assertEqual(make_job("demo", "ping", target="mcollective").collective, "mcollective")


class RuleTests(SynchronousTestCase):
    """When discovery ends."""

    def test_reads(self) -> None:
        """Reads end soon after the last answer, changes when the time is over."""
        for action in ("pause", "resume", "flip", "shutdown", "debuglvl", *READS):
            rule = make_job("demo", action, discovery_timeout=3.0).rule
            self.assertEqual(rule.timeout, 3.0)
            self.assertEqual(rule.quiet, 0.3 if action in READS else None, action)
        self.assertIsNone(make_job("demo", "ping", agent="own").rule.quiet)
        self.assertEqual(make_job("demo", "ping", agent="own", change=False).rule.quiet, 0.3)

    def test_window(self) -> None:
        """A window counts in either case."""
        for action in ("ping", "pause"):
            rule = make_job("demo", action, window=5.0).rule
            self.assertEqual((rule.quiet, rule.timeout), (5.0, 5.0))

    def test_named(self) -> None:
        """Plain identities alone are all who is meant; with others they are not."""
        named = frozenset({"one", "two"})
        self.assertEqual(make_job("demo", "pause", identities=["one", "two"]).rule.named, named)
        others: tuple[dict[str, Any], ...] = (
            {"facts": ["a=1"]},
            {"classes": ["a"]},
            {"select": ["true"]},
        )
        for other in others:
            job = make_job("demo", "pause", identities=["one", "two"], **other)
            self.assertEqual(job.rule.named, frozenset())
        self.assertEqual(make_job("demo", "ping", identities=["one", "/two/"]).rule.named, set())

    def test_nodes(self) -> None:
        """A list of nodes is all who is meant; a long one is not sent."""
        job = make_job("demo", "ping", nodes=["one", "two", "one"])
        self.assertEqual(job.rule.named, {"one", "two"})
        self.assertEqual(job.filter.identity, ("one", "two"))
        many = [f"host{number}" for number in range(MAX_NAMES_SENT + 1)]
        job = make_job("demo", "ping", nodes=many)
        self.assertEqual((job.rule.named, job.filter.identity), (frozenset(many), ()))

    def test_nodes_and_identities(self) -> None:
        """Both: who is in both."""
        job = make_job("demo", "ping", nodes=["one", "two"], identities=["two", "three"])
        self.assertEqual(job.rule.named, {"two"})
        job = make_job("demo", "ping", nodes=["one", "two"], identities=["/t/"])
        self.assertEqual((job.rule.named, job.filter.identity), ({"one", "two"}, ("/t/",)))
