"""Facts: comparison, paths, plain values, secrets."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections import namedtuple
from pathlib import Path
from typing import Any, NoReturn

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.facts import MISSING, FactFilter, clean, fact_matches, hide, lookup, mask

TABLE = Path(__file__).parent.parent / "vectors" / "tables" / "fact_filters.json"


class TableTests(SynchronousTestCase):
    """The answers are those of Choria's own code, the odd ones included."""

    def test_all(self) -> None:
        cases = json.loads(TABLE.read_text())["cases"]
        self.assertEqual(len(cases), 1137)
        for case in cases:
            answer = fact_matches(case["facts"], FactFilter(**case["filter"]))
            self.assertIs(answer, case["match"], case)


class ComparisonTests(SynchronousTestCase):
    """Details that the table does not have."""

    def test_floats_of_values(self) -> None:
        for value in ("1_0.0", " 1.0", "1.0 ", "٣.0", "1.0e999", "nan.", "." * 500):
            self.assertFalse(fact_matches({"v": 10}, FactFilter("v", "==", value)), value)
        self.assertTrue(fact_matches({"v": 1.5}, FactFilter("v", "==", "0x1.8p0")))

    def test_unknown_operator(self) -> None:
        for value in (1, "x", 1.5, True):
            self.assertFalse(fact_matches({"v": value}, FactFilter("v", "~", "1.0")))

    def test_folding(self) -> None:
        self.assertTrue(fact_matches({"v": "\u017f"}, FactFilter("v", "==", "S")))
        self.assertFalse(fact_matches({"v": "ß"}, FactFilter("v", "==", "ss")))
        self.assertFalse(fact_matches({"v": "İ"}, FactFilter("v", "==", "i")))


class LookupTests(SynchronousTestCase):
    """Paths into facts."""

    FACTS = {
        "a": {"b": {"c": 1}, "x": {"d": 2}},
        "l": [{"n": "p", "v": [1, 2]}, {"n": "q", "v": [3]}, 7],
        "e": [],
        "a.b": "dotted",
        "b|c": "piped",
        "q": 'say "x)"',
        "nothing": None,
        "no": False,
    }

    def test_paths(self) -> None:
        for path, value in (
            ("a.b.c", 1),
            ("a.*.d", 2),
            (r"a\.b", "dotted"),
            (r"b\|c", "piped"),
            ("l.#", 3),
            ("e.#", 0),
            ("l.#.n", ["p", "q"]),
            ("l.#.v.#", [2, 1]),
            ("l.#.n|#", 2),
            ('l.#(n=="q").v.0', 3),
            ("l.#(v.#>1)#.n", ["p"]),
            ("l.#(n)#|#", 2),
            ('l.#(n!%"q*").n', "p"),
            ("l.#(v.#(==3)).n", "q"),
            ("l.#(>5)", 7),
            ("nothing", None),
            ('{a.b.c,"z":l.2}', {"c": 1, "z": 7}),
            ("[nothing,nosuch,l.2]", [None, 7]),
            ("a.@keys", ["b", "x"]),
            ("a.@values.0.c", 1),
            ("l.@reverse.0", 7),
            ("e.@this.#", 0),
            ("no.@tostr", "false"),
            ("a.b.@tostr", '{"c":1}'),
            ("l.#.v|@flatten", [1, 2, 3]),
            ("[a.b,a.x]|@join", {"c": 1, "d": 2}),
            ('!{"k":1}.k', 1),
            ("a|b|c", 1),
            ("e.#(x==1)#", []),
        ):
            found = lookup(self.FACTS, path)
            self.assertEqual(found, value, path)
            self.assertIs(type(found) is bool, type(value) is bool)

    def test_missing(self) -> None:
        for path in (
            "",
            ".",
            "..",
            "|",
            "a.",
            ".a",
            "a.b.c.d",
            "A",
            "l.9",
            "l.-1",
            "l.0x",
            "l.#(",
            "l.#()x",
            "l.#x",
            "l.99999999999999999999",
            "q.0",
            "nosuch.@keys",
            "a.@nosuch",
            "[a",
            "{a",
            '!"',
            "!nosuch",
            "a" * 2000,
            "\\",
            "@this.nosuch",
            "e.#(x==1)",
            "l.٣",
        ):
            self.assertIs(lookup(self.FACTS, path), MISSING, path)

    def test_missing_is_false(self) -> None:
        self.assertFalse(MISSING)

    @settings(deadline=None)
    @given(st.text(alphabet='ablnv.#|*?()[]{}@!"=<>%\\:,0123', max_size=30))
    def test_anything(self, path: str) -> None:
        lookup(self.FACTS, path)
        fact_matches(self.FACTS, FactFilter(path or "x", "=~", path or "x"))


class Colour(enum.Enum):
    RED = "red"
    ODD = object()


@dataclasses.dataclass
class Pool:
    size: int
    owner: Any = None
    _private: int = 3


@attrs.frozen
class Node:
    name: str
    pool: Pool


Point = namedtuple("Point", "x y")


class Plain:
    def __init__(self) -> None:
        self.shown = 1
        self._hidden = 2


class Secretive:
    __slots__ = ()

    def __repr__(self) -> str:
        return "password=hunter2"


class Hostile:
    def __init__(self) -> None:
        self.x = 1

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError("no")


class HostileMapping(dict[str, Any]):
    def __iter__(self) -> NoReturn:
        raise RuntimeError("no")


class CleanTests(SynchronousTestCase):
    """Whatever an application returns becomes plain JSON values."""

    def assertClean(self, value: object, wanted: object) -> None:
        found, problems = clean(value)
        self.assertEqual(found, wanted)
        self.assertIs(type(found), type(wanted))
        self.assertEqual(problems, ())

    def test_values(self) -> None:
        moment = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        for value, wanted in (
            (Colour.RED, "red"),
            (Colour.ODD, "ODD"),
            (moment, "2024-01-02T03:04:05+00:00"),
            (moment.date(), "2024-01-02"),
            (datetime.timedelta(minutes=1), 60.0),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (pathlib.PurePosixPath("/etc/x"), "/etc/x"),
            (decimal.Decimal("10"), 10),
            (decimal.Decimal("1.5"), 1.5),
            (decimal.Decimal("0.1000000000000000000001"), "0.1000000000000000000001"),
            ({"b", "a"}, ["a", "b"]),
            (frozenset({2, 1}), [1, 2]),
            ((1, (2,)), [1, [2]]),
            (b"text", "text"),
            (b"\xff", "base64:/w=="),
            (Point(1, 2), {"x": 1, "y": 2}),
            (Node("n", Pool(3)), {"name": "n", "pool": {"size": 3, "owner": None}}),
            (Plain(), {"shown": 1}),
            (2**70, 2**70),
            ("a\ud800b", "a\ufffdb"),
            ({True: "a", None: "b", 2: "c"}, {"true": "a", "null": "b", "2": "c"}),
            ({(1, "x"): 1, 1.5: 2, Colour.RED: 3}, {"1.x": 1, "1.5": 2, "red": 3}),
        ):
            self.assertClean(value, wanted)

    def test_problems(self) -> None:
        for value, wanted, path in (
            ({"a": {"b": float("nan")}}, {"a": {"b": "nan"}}, "a.b: "),
            ({"a": [float("inf")]}, {"a": ["inf"]}, "a.0: "),
            ({"n": 10**400}, {"n": str(10**400)}, "n: "),
            ({"n": 10**5000}, {"n": "<number of 16610 bits>"}, "n: "),
            ({"x": Secretive()}, {"x": "<Secretive>"}, "x: "),
            ({"x": len}, {"x": "<builtin_function_or_method>"}, "x: "),
            ({"x": Plain}, {"x": "<type>"}, "x: "),
            ({"x": Hostile()}, {"x": "<Hostile>"}, "x: "),
            ({"x": HostileMapping(a=1)}, {"x": "<HostileMapping>"}, "x: "),
            ({1: "a", "1": "b"}, {"1": "a"}, "1: "),
        ):
            found, problems = clean(value)
            self.assertEqual(found, wanted)
            self.assertEqual(len(problems), 1, problems)
            self.assertTrue(problems[0].startswith(path), problems)
            self.assertNotIn("hunter2", json.dumps(found) + "".join(problems))

    def test_cycles_and_depth(self) -> None:
        loop: dict[str, Any] = {"a": 1}
        loop["self"] = [loop]
        self.assertEqual(clean(loop)[0], {"a": 1, "self": ["<cycle>"]})
        shared = [1]
        self.assertClean([shared, shared], [[1], [1]])
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        found, problems = clean(deep)
        self.assertIn("<too deep>", json.dumps(found))
        self.assertEqual(len(problems), 1)

    def test_size(self) -> None:
        found, problems = clean({"a": list(range(200_000)), "b": 1})
        self.assertLess(len(found["a"]), 100_002)
        self.assertEqual(len(problems), 1)
        self.assertEqual(len(clean([float("nan")] * 1000)[1]), 20)

    @settings(deadline=None)
    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text()
            | st.binary()
            | st.decimals()
            | st.datetimes()
            | st.builds(Plain)
            | st.builds(Hostile),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.tuples(inner)
                | st.dictionaries(st.integers() | st.text() | st.none() | st.floats(), inner)
                | st.builds(Pool, size=inner)
            ),
            max_leaves=10,
        )
    )
    def test_anything(self, value: object) -> None:
        """The result can be written as strict JSON, and is plain already."""
        found, problems = clean(value)
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
        self.assertEqual(clean(found), (found, ()))
        self.assertTrue(all(isinstance(problem, str) for problem in problems))


class MaskTests(SynchronousTestCase):
    """Secrets are not shown, and cannot be guessed with filters."""

    SECRET = (
        "password",
        "passwd",
        "pass",
        "PWD",
        "db_password",
        "db-password",
        "db.password",
        "dbPassword",
        "DBPassword",
        "dbpassword",
        "password2",
        "secret",
        "client_secret",
        "clientSecret",
        "token",
        "apiToken",
        "api_key",
        "apiKey",
        "APIKEY",
        "X-Api-Key",
        "access_key",
        "AWS_SECRET_ACCESS_KEY",
        "private_key",
        "privateKey",
        "credential",
        "credentials",
        "auth_token",
        "cookie",
        "session_key",
        "passphrase",
        "dsn",
        "SENTRY_DSN",
    )
    OPEN = (
        "passenger",
        "tokenizer_name",
        "bypass",
        "compass",
        "passing",
        "secretary",
        "key",
        "keys",
        "author",
        "interval",
        "dc",
        "pinned",
        "public_key",
        "monkey",
        "keyboard",
        "surpassed",
        "api",
        "session",
    )

    def test_keys(self) -> None:
        for key in self.SECRET:
            self.assertEqual(mask({key: "x"}), {key: "********"}, key)
            self.assertEqual(hide({key: "x", "b": 1}), {"b": 1}, key)
        for key in self.OPEN:
            self.assertEqual(mask({key: "x"}), {key: "x"}, key)

    def test_values(self) -> None:
        """Everything under such a key is masked, but for nothing, yes and no."""
        self.assertEqual(
            mask({"db": {"password": {"a": [1]}, "host": "h"}, "token": None, "secret": True}),
            {"db": {"password": "********", "host": "h"}, "token": None, "secret": True},
        )
        self.assertEqual(mask([{"pass": 1}, "x", 2]), [{"pass": "********"}, "x", 2])
        self.assertEqual(hide([{"pass": None, "b": [{"token": 1}]}]), [{"b": [{}]}])

    def test_urls(self) -> None:
        for url, shown in (
            ("postgres://u:p@h/db", "postgres://u:********@h/db"),
            ("redis://:p@h:6379", "redis://:********@h:6379"),
            ("amqp://a:b@h1,amqp://c:d@h2", "amqp://a:********@h1,amqp://c:********@h2"),
            ("x http://u:p@ss@h/ y", "x http://u:********@h/ y"),
            ("http://u:a/b@h", "http://u:********@h"),
            ("http://u:12/b@h", "http://u:12/b@h"),
            ("http://h:80/path@x", "http://h:80/path@x"),
            ("http://h/?q=a:b@c", "http://h/?q=a:b@c"),
            ("http://u@h", "http://u@h"),
            ("u:p@h", "u:p@h"),
        ):
            self.assertEqual(mask({"url": [url]}), {"url": [shown]})
            self.assertEqual(hide({"url": url}), {"url": shown})
            # Pools and health checks like to have the URL for a key.
            self.assertEqual(mask({"pools": {url: "up"}}), {"pools": {shown: "up"}})
            self.assertEqual(hide({url: "up"}), {shown: "up"})

    def test_extra_and_exempt(self) -> None:
        facts = {"iban": 1, "myIban": 2, "max_tokens": 3, "db": {"pass": 4}, "x": {"pass": 5}}
        shown = mask(facts, extra=["IBAN"], exempt=["max_tokens", "DB.pass"])
        self.assertEqual(
            shown,
            {
                "iban": "********",
                "myIban": "********",
                "max_tokens": 3,
                "db": {"pass": 4},
                "x": {"pass": "********"},
            },
        )
        self.assertEqual(hide({"a": {"b": 1, "c": 2}}, extra=["a.b"]), {"a": {"c": 2}})
        self.assertEqual(mask({"card_number": 1, "number": 2}, extra=["card number"])["number"], 2)

    def test_copies(self) -> None:
        facts: dict[str, Any] = {"a": {"token": "x"}}
        mask(facts)["a"]["new"] = 1
        hide(facts)["a"]["new"] = 1
        self.assertEqual(facts, {"a": {"token": "x"}})

    @settings(deadline=None)
    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["a", "token", "b"]), inner)
            ),
            max_leaves=8,
        )
    )
    def test_anything(self, value: Any) -> None:
        mask(value)
        self.assertNotIn('"token"', json.dumps(hide({"x": value})).replace("\\", ""))
