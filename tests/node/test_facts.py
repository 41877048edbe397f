"""Snapshots of the application's facts, whatever their source does."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.node.calling import MethodCalls
from backplane.node.facts import MAX_REPORTED, FactSnapshots
from backplane.security.roles import Role
from backplane.testing import RecordingApplication
from tests.node.messages import Lines


class SnapshotTests(SynchronousTestCase):
    """Snapshots by themselves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.app = RecordingApplication({"dc": "DC1"})
        self.log = Lines()
        self.facts = self.make()

    def make(self, **settings: Any) -> FactSnapshots:
        calls = MethodCalls(self.app, self.clock, lambda function: Deferred())
        return FactSnapshots(
            calls, lambda: {"backplane_name": "x"}, self.log.logger(), deadline=9, **settings
        )

    def refresh(self) -> None:
        self.successResultOf(self.facts.refresh())

    def test_never_asked(self) -> None:
        """Before the first look there are the backplane's facts only."""
        self.assertIsNone(self.facts.application)
        self.assertEqual(self.facts.usable(Role.FULL), {"backplane_name": "x"})
        self.assertEqual(self.facts.version, "unknown")

    def test_asked(self) -> None:
        self.refresh()
        self.assertEqual(self.facts.application, {"dc": "DC1"})
        self.assertEqual(self.facts.usable(Role.READ_ONLY), {"dc": "DC1", "backplane_name": "x"})
        self.assertEqual(self.facts.usable(None), {"backplane_name": "x"})
        self.assertEqual(self.facts.version, "1.2.3")

    def test_backplane_facts_win(self) -> None:
        """An application cannot forge the facts that clients choose services by."""
        self.app.facts = {"backplane_name": "forged", "backplane_more": "x"}
        self.refresh()
        self.assertEqual(self.facts.usable(Role.FULL)["backplane_name"], "x")
        self.assertEqual(self.facts.shown()["backplane_name"], "x")
        # And a caller without a role sees none of its.
        self.assertEqual(self.facts.usable(None), {"backplane_name": "x"})

    def test_snapshot_is_ours(self) -> None:
        """What the application does to its mapping later changes nothing until the next look."""
        self.refresh()
        self.app.facts["dc"] = "DC2"
        self.assertEqual(self.facts.application, {"dc": "DC1"})
        self.refresh()
        self.assertEqual(self.facts.application, {"dc": "DC2"})

    def test_same_again(self) -> None:
        """What is as it was is not looked through again; every difference counts."""
        self.app.facts = {"on": 1, "db": {"password": "x"}}
        self.refresh()
        before = self.facts.application
        self.refresh()
        self.assertIs(self.facts.application, before)
        self.app.facts["on"] = True
        self.refresh()
        assert self.facts.application is not None
        self.assertIs(self.facts.application["on"], True)
        self.app.facts["db"]["token"] = "y"  # in place, and a secret
        self.refresh()
        masked = {"password": "********", "token": "********"}
        self.assertEqual(self.facts.application["db"], masked)
        self.assertEqual(self.facts.usable(Role.FULL)["db"], {})
        # After a failure the same facts are taken anew.
        self.app.raises["fact_data"] = RuntimeError("no")
        self.refresh()
        self.assertIsNone(self.facts.application)
        self.app.raises.clear()
        self.refresh()
        self.assertEqual(self.facts.application["db"], masked)

    def test_raises(self) -> None:
        """A source that raises leaves no facts of the application, and one line for each cause."""
        self.refresh()
        self.app.raises["fact_data"] = RuntimeError("db at postgres://a:hunter2@db is away")
        for _ in range(3):
            self.refresh()
        self.assertIsNone(self.facts.application)
        self.assertEqual(self.facts.usable(Role.FULL), {"backplane_name": "x"})
        (line,) = self.log.texts()
        self.assertIn("RuntimeError: db at postgres://********@db is away", line)
        del self.app.raises["fact_data"]
        self.refresh()
        self.assertEqual(self.facts.application, {"dc": "DC1"})

    def test_error_that_cannot_be_told(self) -> None:
        """An error whose own text raises does no more harm than another."""

        class Broken(Exception):
            def __str__(self) -> str:
                raise ZeroDivisionError

        self.app.raises.update(fact_data=Broken(), version=Broken())
        self.refresh()
        self.assertEqual(len(self.log.texts()), 1)
        self.assertIsNone(self.facts.application)

    def test_hangs(self) -> None:
        """While the source hangs the old snapshot has to do; at the deadline it is given up."""
        self.refresh()
        waiting: Deferred[Any] = Deferred()
        self.patch(self.app, "fact_data", lambda: waiting)
        impatient = self.facts.refresh(1)
        patient = self.facts.refresh()
        self.clock.advance(1)
        self.successResultOf(impatient)
        self.assertEqual(self.facts.application, {"dc": "DC1"})
        self.assertNoResult(patient)
        self.clock.advance(8)
        self.successResultOf(patient)
        self.assertIsNone(self.facts.application)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow(self) -> None:
        """What comes after the impatient caller has left is taken all the same."""
        waiting: Deferred[Any] = Deferred()
        self.patch(self.app, "fact_data", lambda: waiting)
        impatient = self.facts.refresh(1)
        self.clock.advance(2)
        self.successResultOf(impatient)
        waiting.callback({"late": True})
        self.assertEqual(self.facts.application, {"late": True})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_mapping(self) -> None:
        """What is no mapping leaves no facts, and is said once."""
        for value in (None, [1], "text", 5, object(), b"x", Exception):
            self.app.facts = value
            self.refresh()
            self.assertIsNone(self.facts.application, value)
        said = [text for text in self.log.texts() if text.endswith("which is no mapping")]
        self.assertEqual(len(said), 7)

    def test_reports_are_bounded(self) -> None:
        """Causes that are new each time do not fill the log."""
        for number in range(MAX_REPORTED + 50):
            self.app.raises["fact_data"] = RuntimeError(f"at {number}")
            self.refresh()
        self.assertEqual(len(self.log.texts()), MAX_REPORTED)

    def test_version(self) -> None:
        """Whatever the version is, it is shown as text of bounded length."""

        class Odd:
            def __str__(self) -> str:
                raise ZeroDivisionError

        for value, shown in (
            ("2.0", "2.0"),
            (2.5, "2.5"),
            (b"3", "3"),
            (None, "unknown"),
            (Odd(), "<Odd>"),
            ("x" * 5000, "x" * 200),
        ):
            self.patch(self.app, "version", lambda value=value: value)
            self.refresh()
            self.assertEqual(self.facts.version, shown)

    def test_secrets(self) -> None:
        """Secrets are masked where facts are shown and absent where they are filtered."""
        self.app.facts = {"db": {"password": "hunter2", "host": "db"}, "api_token": "hunter2"}
        self.refresh()
        self.assertEqual(
            self.facts.application,
            {"db": {"password": "********", "host": "db"}, "api_token": "********"},
        )
        self.assertEqual(
            self.facts.usable(Role.FULL), {"db": {"host": "db"}, "backplane_name": "x"}
        )

    def test_added_and_exempt(self) -> None:
        """The configuration may add names of secrets and exempt others."""
        self.facts = self.make(secrets=("licence",), exempt=("api_token",))
        self.app.facts = {"licence": "x", "api_token": "y", "password": "z"}
        self.refresh()
        self.assertEqual(
            self.facts.application,
            {"licence": "********", "api_token": "y", "password": "********"},
        )
        self.assertEqual(
            self.facts.masked({"licence": 1, "api_token": 2}),
            {
                "licence": "********",
                "api_token": 2,
            },
        )
