"""What people ran into with facts and filters, tried as operators type them."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pathlib
import re
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from backplane.testing import RecordingApplication
from tests.integration.fleet import ROOT
from tests.managing import ManagementCase

OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=", "=~", "!~")


class Level(enum.Enum):
    HIGH = "high"


@dataclasses.dataclass
class Site:
    city: str = "Ulm"
    opened: datetime.date = datetime.date(2026, 11, 25)


class Strange:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class ValueTests(ManagementCase):
    """Values that JSON cannot hold cost themselves, and nothing else."""

    def test_each(self) -> None:
        """Each is told in its standard form or by a marked placeholder; ``info`` never fails."""
        app = RecordingApplication()
        self.harness.manage(app)
        for value, shown in (
            (datetime.date(2026, 11, 25), "2026-11-25"),
            (datetime.datetime(2026, 11, 25, 10, 30), "2026-11-25T10:30:00"),
            (b"\x00\xff", "base64:AP8="),
            ({"a"}, ["a"]),
            (Decimal("0.1"), 0.1),
            (Decimal("1e400"), "1E+400"),
            (pathlib.PurePosixPath("/srv"), "/srv"),
            (uuid.UUID(int=7), str(uuid.UUID(int=7))),
            (Level.HIGH, "high"),
            (Site(), {"city": "Ulm", "opened": "2026-11-25"}),
            (object(), "<object>"),
            (Strange(), "<Strange>"),
            ({1: "x"}, {"1": "x"}),
            ({True: "x"}, {"true": "x"}),
            ({None: "x"}, {"null": "x"}),
            ({(1, 2): "x"}, {"1.2": "x"}),
        ):
            app.facts = {"fact": value, "good": 1}
            reply = self.harness.ask("info")
            self.assertEqual((reply.status, reply.data["facts"]), (0, {"fact": shown, "good": 1}))
            json.dumps(reply.data, allow_nan=False)
            self.assertEqual(self.harness.request("ping", facts=["good=1"]).count, 1)

    def test_clash(self) -> None:
        """Keys that are the same as text are told, in one line however often they are seen."""
        app = RecordingApplication({})
        app.facts = {1: "number", "1": "text"}
        self.harness.manage(app, facts={"interval": 10})
        self.log.events.clear()
        app.facts = {1: "number", "1": "text", "more": object()}
        for _ in range(20):
            self.assertEqual(self.harness.ask("info").data["facts"]["1"], "number")
            self.harness.advance(10)
        lines = [line for line in self.log.texts() if line.startswith("facts: ")]
        self.assertEqual(len([line for line in lines if "two keys" in line]), 0)
        self.assertEqual(len([line for line in lines if "object" in line]), 1)


class NobodyTests(ManagementCase):
    """A filter that matches nothing acts on nobody."""

    def test_pause(self) -> None:
        """Unknown facts, contradictions, unknown names, a source that raises just now."""
        good = RecordingApplication({"dc": "DC1"})
        bad = RecordingApplication({"dc": "DC1"})
        self.harness.manage(good, identity="good.example.net")
        self.harness.manage(bad, identity="bad.example.net", facts={"interval": 10})
        bad.raises["fact_data"] = OSError("the database is away")
        self.harness.advance(11)
        filters: list[dict[str, Any]] = [
            {"facts": ["nobody=has"]},
            {"facts": ["nobody!=has"]},
            {"facts": ["dc=DC1", "dc=DC2"]},
            {"identities": ["unknown.example.net"]},
            {"classes": ["unknown"]},
            {"select": ['fact("nobody") == "has"']},
            *(
                {"facts": [f"dc{operator}DC1"], "identities": ["bad.example.net"]}
                for operator in OPERATORS
                if operator not in ("=~", "!~")
            ),
            {"facts": ["dc=~/./"], "identities": ["bad.example.net"]},
            {"facts": ["dc!=~/x/"], "identities": ["bad.example.net"]},
        ]
        for wanted in filters:
            try:
                outcome = self.harness.request("pause", **wanted)
            except ValueError:
                continue  # refused before anything was sent
            self.assertEqual(outcome.count, 0, wanted)
            self.assertIn(outcome.exit_code, (1, 4), wanted)
            self.assertEqual(outcome.answers, (), wanted)
        self.assertNotIn("pause", good.calls + bad.calls)
        outcome = self.harness.request("pause", facts=["dc=DC1"])
        self.assertEqual([answer.sender for answer in outcome.answers], ["good.example.net"])


class PathTests(ManagementCase):
    """Booleans, nesting, dots and equal signs in names, lists."""

    FACTS: Final[dict[str, Any]] = {
        "virtual": True,
        "os": {"name": "Debian", "release": {"major": 7}},
        "app.version": "1.2",
        "a=b": "c",
        "list": ["x", "y"],
        "count": 1,
    }

    def found(self, facts: Sequence[str]) -> bool:
        return bool(self.harness.request("ping", facts=facts).count)

    def test_typed(self) -> None:
        """As Choria's rules have it: what is typed at the command line."""
        self.harness.manage(RecordingApplication(self.FACTS))
        for wanted, matches in (
            ("virtual=true", True),
            ("virtual=True", True),
            ("virtual=1", True),
            ("virtual=false", False),
            ("virtual!=false", True),
            ("count=1", True),
            ("count=true", False),
            ("a=b=c", True),
            ("os.release.major>=7", True),
            ("os.release.major>7", False),
            ("os.release.major=7", True),
            ("os.name=debian", True),
            ("os.name=~/^Deb/", True),
            (r"app\.version=1.2", True),
            ("app.version=1.2", False),
            ("list.0=x", True),
            ("list.1=x", False),
            ("list.2=x", False),
            ("list.#=2", True),
        ):
            self.assertEqual(self.found([wanted]), matches, wanted)

    def test_documented(self) -> None:
        """What the manual says matches does, with the facts that it says."""
        page = (ROOT / "docs" / "cli.rst").read_text(encoding="utf-8")
        told = re.search(r"A service with the facts ``(\{.*?\})`` matches each", page, re.DOTALL)
        assert told is not None
        self.harness.manage(RecordingApplication(json.loads(told[1])))
        table = page[told.end() :].split("=\n\n\n")[0]
        shown = [each for each in re.findall(r"``(.+?)``", table) if len(each) > 2]
        self.assertGreater(len(shown), 7)
        for wanted in shown:
            self.assertTrue(self.found([wanted]), wanted)
