"""Facts as operators meet them: fresh, usable, without secrets."""

from __future__ import annotations

import datetime
import enum
import json
import pathlib
import uuid
from decimal import Decimal
from typing import Any

import attrs
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane import __version__
from backplane.testing import Harness, RecordingApplication
from tests.node.messages import Lines

BACKPLANE_FACTS = {
    "backplane_version": __version__,
    "backplane_name": "backplane",
    "backplane_pausable": True,
    "backplane_stopable": True,
    "backplane_healthcheckable": True,
    "backplane_loglevelsetable": True,
    "backplane_actions": (
        "amend,change,changes,critlvl,debuglvl,end,flip,health,info,infolvl,loggers,pause,ping,"
        "resume,shutdown,stalls,threaddump,warnlvl"
    ),
}


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Settings:
    name: str = "shop"
    db_password: str = "hunter2"


class FactsOnTheNetworkTests(SynchronousTestCase):
    """Facts as operators meet them."""

    def setUp(self) -> None:
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        self.app = RecordingApplication({"dc": "DC1"})

    def shown(self) -> Any:
        return self.harness.ask("info").data["facts"]

    def found(self, *facts: str, **how: Any) -> int:
        return self.harness.request("ping", facts=facts, **how).count

    def test_interval(self) -> None:
        """Filters see a change once the interval is over, and not before."""
        self.harness.manage(self.app, facts={"interval": 30})
        calls = self.app.calls.count("fact_data")
        self.app.facts = {"dc": "DC2"}
        self.assertEqual((self.found("dc=DC1"), self.found("dc=DC2")), (1, 0))
        self.assertEqual(self.app.calls.count("fact_data"), calls)
        self.harness.advance(30)
        self.assertEqual((self.found("dc=DC1"), self.found("dc=DC2")), (0, 1))
        # Fractions of the steps in which time goes by may lie between.
        self.harness.advance(300)
        self.assertIn(self.app.calls.count("fact_data") - calls, (10, 11, 12))

    def test_on_demand(self) -> None:
        """``info`` asks the application itself, and filters see what it has learned."""
        self.harness.manage(self.app)
        self.app.facts = {"dc": "DC2"}
        self.assertEqual(self.shown(), {"dc": "DC2"})
        self.assertEqual(self.found("dc=DC2"), 1)

    def test_backplane_facts(self) -> None:
        """The facts that clients choose by are there and are true."""
        self.harness.manage(self.app)
        facts = self.harness.ask("inventory", agent="rpcutil").data["facts"]
        self.assertEqual(facts, {"dc": "DC1", **BACKPLANE_FACTS})
        # But ``info`` shows the application's alone, as Go does.
        self.assertEqual(self.shown(), {"dc": "DC1"})
        for wanted in ("backplane_pausable=true", "backplane_actions=~/threaddump/"):
            self.assertEqual(self.found(wanted), 1)

    def test_without_information_source(self) -> None:
        """They are there without a source too, so that clients find the service."""
        self.harness.manage()
        facts = self.harness.ask("inventory", agent="rpcutil").data["facts"]
        self.assertEqual(
            facts,
            {
                **dict.fromkeys(BACKPLANE_FACTS, False),
                "backplane_version": __version__,
                "backplane_name": "backplane",
                "backplane_actions": "changes,info,ping,stalls,threaddump",
            },
        )
        self.assertEqual(self.found("backplane_pausable=false"), 1)
        self.assertIsNone(self.shown())

    def test_unusable_facts_match_nothing(self) -> None:
        """With a source that raises no fact filter matches, whatever its operator."""
        self.app.raises["fact_data"] = RuntimeError("no")
        self.harness.manage(self.app)
        for wanted in ("dc=DC1", "dc!=DC1", "dc<1", "dc>=1", "dc=~/./", "dc=~/^$/"):
            self.assertEqual(self.found(wanted), 0, wanted)
            self.assertEqual(self.harness.request("pause", facts=[wanted]).count, 0)
        self.assertNotIn("pause", self.app.calls)
        self.assertEqual(self.found("backplane_name=backplane"), 1)
        self.assertEqual(self.harness.request("ping").count, 1)

    def test_filters_that_match_nobody(self) -> None:
        """A fact that nobody has, or two that contradict, pause nobody."""
        self.harness.manage(self.app)
        for facts in (["nobody=1"], ["nobody!=1"], ["dc=DC1", "dc=DC2"]):
            outcome = self.harness.request("pause", facts=facts)
            self.assertEqual((outcome.count, outcome.exit_code), (0, 1))
        outcome = self.harness.request("pause", identities=["nobody.example.net"])
        self.assertEqual(outcome.count, 0)
        self.assertNotIn("pause", self.app.calls)

    def test_odd_values(self) -> None:
        """Values and keys that JSON cannot hold are told as text; nothing breaks."""
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        deep: list[Any] = []
        for _ in range(500):
            deep = [deep]

        class Evil:
            def __getattribute__(self, name: str) -> Any:
                raise RuntimeError(name)

        self.app.facts = {
            "nan": float("nan"),
            "infinity": float("-inf"),
            "bytes": b"ok",
            "binary": b"\xff",
            "set": {3, 1},
            "date": datetime.date(2026, 11, 25),
            "moment": datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.timezone.utc),
            "delta": datetime.timedelta(minutes=1),
            "decimal": Decimal("1.5"),
            "path": pathlib.PurePosixPath("/etc/shop"),
            "uuid": uuid.UUID(int=1),
            "enum": Colour.RED,
            "attrs": Settings(),
            "object": object(),
            "evil": Evil(),
            "cycle": cycle,
            "deep": deep,
            "huge": 10**400,
            "surrogate": "\ud800",
            1: "number",
            "1": "clash with the number",
            False: "boolean",
            None: "none",
            (1, "a"): "tuple",
            "two": {2: "number", "2": "text"},
        }
        lines = Lines()
        globalLogPublisher.addObserver(lines)
        self.addCleanup(globalLogPublisher.removeObserver, lines)
        self.harness.manage(self.app)
        facts = self.shown()
        for key, value in {
            "nan": "nan",
            "infinity": "-inf",
            "bytes": "ok",
            "binary": "base64:/w==",
            "set": [1, 3],
            "date": "2026-11-25",
            "moment": "2026-11-25T12:00:00+00:00",
            "delta": 60.0,
            "decimal": 1.5,
            "path": "/etc/shop",
            "uuid": "00000000-0000-0000-0000-000000000001",
            "enum": "red",
            "attrs": {"name": "shop", "db_password": "********"},
            "object": "<object>",
            "cycle": {"self": "<cycle>"},
            "1": "number",
            "false": "boolean",
            "null": "none",
            "1.a": "tuple",
            "two": {"2": "number"},
        }.items():
            self.assertEqual(facts[key], value, key)
        self.assertIn("Evil", facts["evil"])
        json.dumps(facts, allow_nan=False)
        self.assertIn("facts: 1: two keys are the same as text", "".join(lines.texts("warn")))
        self.assertEqual(self.found("date=2026-11-25", "delta=60"), 1)
        self.assertTrue(self.harness.ask("inventory", agent="rpcutil").ok)

    def test_huge(self) -> None:
        """More facts than fit a message are a failure that says so; others still work."""
        self.app.facts = {f"k{number}": "x" * 100 for number in range(12_000)}
        self.harness.manage(self.app)
        reply = self.harness.ask("info")
        self.assertEqual(reply.status, 5)
        self.assertIn("larger than the broker takes", reply.message)
        self.assertEqual(self.found("k11999=~/^x+$/"), 1)
        self.assertEqual(self.harness.ask("pause").data, {"paused": True})

    def test_secrets_nowhere(self) -> None:
        """No action and no log line shows a secret, and no filter can be used to guess it."""
        secret = "hunter2"
        self.app.facts = {
            "db": {"password": secret, "url": f"postgres://app:{secret}@db/shop"},
            "api_token": secret,
            "keys": [{"private_key": secret}],
        }
        self.app.health = ({"token": secret, "dsn": f"redis://:{secret}@cache"}, True)
        lines = Lines()
        globalLogPublisher.addObserver(lines)
        self.addCleanup(globalLogPublisher.removeObserver, lines)
        self.harness.manage(self.app, loglevel="debug")
        for reply in (
            self.harness.ask("info"),
            self.harness.ask("health"),
            self.harness.ask("threaddump"),
            self.harness.ask("inventory", agent="rpcutil"),
            self.harness.ask("get_fact", {"fact": "db.password"}, agent="rpcutil"),
            self.harness.ask("get_fact", {"fact": "@this"}, agent="rpcutil"),
            self.harness.ask("get_fact", {"fact": "db.url"}, agent="rpcutil"),
            self.harness.ask("get_facts", {"facts": "api_token,keys.0"}, agent="rpcutil"),
        ):
            self.assertEqual(reply.status, 0)
            self.assertNotIn(secret, str(reply.data))
        for wanted in (
            f"db.password={secret}",
            "db.password=~/^h/",
            "db.password!=x",
            "api_token=~/./",
            "keys.0.private_key=~/./",
            "@this=~/hunter/",
            "db.@tostr=~/hunter/",
            "db.url=~/hunter/",
            "db.password=********",
        ):
            self.assertEqual(self.found(wanted), 0, wanted)
        for expression in (
            'fact("db.password") == "hunter2"',
            'fact("db") contains "hunter"',
            'toJSON(fact("@this")) contains "hunter"',
            'with("api_token=hunter2")',
        ):
            self.assertEqual(self.harness.request("ping", select=[expression]).count, 0)
        self.app.raises["fact_data"] = RuntimeError(f"password={secret}")
        self.harness.ask("info")
        self.assertGreater(len(lines.events), 2)
        self.assertNotIn(secret, "".join(lines.texts()))

    def test_callers_without_role(self) -> None:
        """They find services by the backplane's own facts and by nothing else."""
        self.harness.manage(self.app, auth={"full": ["sre.choria"]})
        for wanted, count in (
            ("backplane_pausable=true", 1),
            ("backplane_version!=0", 1),
            ("dc=DC1", 0),
            ("dc!=DC1", 0),
            ("dc=~/./", 0),
        ):
            self.assertEqual(self.found(wanted, caller="nobody.choria"), count, wanted)
            self.assertEqual(self.found("dc=DC1", caller="sre.choria"), 1)
        self.assertEqual(
            self.harness.request("ping", select=['fact("dc") == "DC1"'], caller="nobody").count, 0
        )

    def test_version_in_info(self) -> None:
        """``version`` is the application's."""
        self.harness.manage(self.app)
        self.assertEqual(self.harness.ask("info").data["version"], "1.2.3")
