"""Documents with places: how they are read, expanded, and what is said of bad ones."""

from __future__ import annotations

import datetime
import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.config.document import load_document, parse_document
from backplane.config.expand import ExpandError, expand
from backplane.config.nodes import Node, to_plain
from backplane.config.problems import Collector, describe
from backplane.errors import ConfigError, Problem


def read(data: str | bytes, path: str = "app.yaml") -> Any:
    """Return the plain document, or raise all its mistakes."""
    problems = Collector(path)
    node = parse_document(data.encode() if isinstance(data, str) else data, problems)
    problems.check()
    return to_plain(node)


class Reading(SynchronousTestCase):
    """What is written in files that are good, and in files that are not."""

    def refused(self, data: str | bytes, path: str = "app.yaml") -> Problem:
        """Return the only mistake of a document."""
        error = self.assertRaises(ConfigError, read, data, path)
        self.assertEqual(len(error.problems), 1, str(error))
        self.assertEqual(error.problems[0].path, path)
        problem: Problem = error.problems[0]
        return problem

    def test_as_yaml_does(self) -> None:
        """An application finds the values that yaml.safe_load would give it."""
        text = (
            "a: [1, 0x10, 1.5, yes, ~, 2026-11-25, 'x', !!binary aGk=, !!set {q, r}]\n"
            "base: &b {k: 1, l: 2}\nmine: {<<: *b, l: 3}\nboth: {<<: [*b, {k: 9, m: 4}]}\n"
            "1: one\nnull: nothing\ntext: |\n  two\n  lines\n"
        )
        self.assertEqual(read(text), yaml.safe_load(text))

    def test_json(self) -> None:
        """JSON is read as JSON: tabs, 1e3, and pairs of surrogates."""
        text = '{\n\t"a": 1e3,\t"b": "\\ud83d\\ude00 \\/ \\t", "c": [true, null, -1.5]\n}\n'
        self.assertEqual(read(text), json.loads(text))
        self.assertEqual(read(text, "app.json"), json.loads(text))

    def test_bad_json(self) -> None:
        """A file named .json that is none is refused with its place."""
        problem = self.refused('{"a": 1,\n "b" 2}', "app.json")
        self.assertEqual((problem.line, problem.column), (2, 6))

    def test_byte_order_marks_and_line_ends(self) -> None:
        """Byte-order marks and CRLF just work."""
        for data in (
            b"\xef\xbb\xbfa: 1\r\nb: x \r\n",
            "\ufeffa: 1\r\nb: x\r\n".encode("utf-16-le"),
        ):
            self.assertEqual(read(data), {"a": 1, "b": "x"})

    def test_tab(self) -> None:
        """A tab is called a tab, with its place."""
        for data, line, column in (
            ("a:\n\tb: 1\n", 2, 1),
            ("a:\tb\n", 1, 3),
            ("a: b\t\n", 1, 5),
            ("a:\n  - b\n\t- c\n", 3, 1),
        ):
            problem = self.refused(data)
            self.assertEqual((problem.line, problem.column), (line, column), data)
            self.assertEqual(problem.found, "a tab")

    def test_latin_1(self) -> None:
        """A byte that is not UTF-8 has a line and a column in characters."""
        problem = self.refused("\ufeffa: é\nb: ü".encode() + b"\xfc # x\n")
        self.assertEqual((problem.line, problem.column), (2, 5))
        self.assertIn("0xFC", problem.found)
        self.assertIn("UTF-8", problem.wanted)

    def test_syntax(self) -> None:
        """Every other mistake of syntax has a place and no words of the parser's insides."""
        for data, place, found in (
            ("a: b: c", (1, 5), "a second ': '"),
            ("a: @x", (1, 4), "begins with @"),
            ("a: `x`", (1, 4), "begins with `"),
            ("a: %x", (1, 4), "begins with %"),
            ("p: *secret", (1, 4), "begins with *"),
            ("p: !secret x", (1, 4), "begins with !"),
            ("a: 1\n---\nb: 2", (2, 1), "second document"),
            ("a: 'x", (1, 6), "unexpected end"),
            ("a: x\x01", (1, 5), "'\\x01'"),
            ("a: 2026-13-45", (1, 4), "timestamp"),
            ("a: [b", (1, 6), "flow"),
            ("? [x]\n: y", (1, 3), "not text"),
        ):
            problem = self.refused(data)
            self.assertEqual((problem.line, problem.column), place, data)
            self.assertIn(found, problem.found)
            self.assertNotIn("secret", str(problem))

    def test_duplicates(self) -> None:
        """Keys that stand twice are all reported, anywhere in the document."""
        error = self.assertRaises(
            ConfigError, read, "x: 1\ny: {a: 1, b: 2, a: 3}\nz:\n  - {q: 1, q: 1}\nx: 2\n"
        )
        keys = [(problem.key, problem.line) for problem in error.problems]
        self.assertEqual(keys, [("y.a", 2), ("z[0].q", 4), ("x", 5)])
        self.assertIn("line 1", error.problems[2].found)

    def test_depth_and_circles(self) -> None:
        """Depth without end and values that contain themselves are refused."""
        for data in ("[" * 100_000, "[" * 150 + "]" * 150, "a: &x [*x]", "a: &x {b: *x}"):
            self.assertRaises(ConfigError, read, data)

    def test_aliases_stay_small(self) -> None:
        """Aliases of aliases cost what they take in the file."""
        lines = ["a0: &a0 [x, x]"]
        lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 80)]
        document = read("\n".join(lines))
        self.assertIs(document["a79"][0], document["a79"][1])

    def test_unreadable(self) -> None:
        """A file that is missing, a directory, or cannot be a name at all."""
        for path in ("/nonexistent/app.yaml", "/", "a\0b"):
            error = self.assertRaises(ConfigError, load_document, path)
            self.assertIn("unreadable", str(error))

    def test_load_document(self) -> None:
        """Without a collector every mistake is raised; with one the rest is read."""
        path = self.mktemp()
        with open(path, "w") as stream:
            stream.write("a: 1\na: 2\n")
        self.assertRaises(ConfigError, load_document, path)
        problems = Collector(path)
        self.assertEqual(to_plain(load_document(path, problems)), {"a": 2})
        self.assertEqual(len(problems.problems), 1)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever stands in a file, reading it raises nothing else."""
        try:
            read(data)
        except ConfigError as error:
            str(error).encode()

    @given(st.text(st.sampled_from("ab01 :-\n\t[]{}'\"&*!|>%@#,?<=.~$_eéx\\u"), max_size=60))
    def test_any_yaml(self, text: str) -> None:
        """The same for what looks more like YAML; what is read is what YAML reads."""
        try:
            document = read(text)
        except ConfigError:
            return
        if not text.lstrip().startswith(("{", "[")):
            self.assertEqual(repr(document), repr(yaml.safe_load(text)))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda each: (
                st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3)
            ),
            max_leaves=12,
        ),
        st.sampled_from([None, "\t"]),
    )
    def test_any_json(self, value: Any, indent: str | None) -> None:
        """JSON that Python writes is read as Python reads it."""
        text = json.dumps({"value": value}, indent=indent)
        self.assertEqual(read(text), json.loads(text))


class Expanding(SynchronousTestCase):
    """``${NAME}`` in texts."""

    ENV = {"HOST": "web1", "EMPTY": "", "DOLLAR": "${HOST} $$"}

    def test_forms(self) -> None:
        """The three forms, and dollars that are none."""
        for text, expected in (
            ("${HOST}", "web1"),
            ("a-${HOST}.${HOST}", "a-web1.web1"),
            ("${NONE:-x y}", "x y"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${HOST:-x}", "web1"),
            ("$${HOST}", "${HOST}"),
            ("$$$$", "$$"),
            ("^choria=rip\\.mcollective$", "^choria=rip\\.mcollective$"),
            ("(a$|b)", "(a$|b)"),
            ("$HOST", "$HOST"),
            ("${NONE:-^x$}", "^x$"),
            ("${NONE:-$$x}", "$x"),
            ("${DOLLAR}", "${HOST} $$"),
        ):
            self.assertEqual(expand(text, self.ENV), expected)

    def test_refused(self) -> None:
        """Unset names and broken forms; what stands around them is not shown."""
        for text in ("${NONE}", "${", "${}", "${HOST", "${HO ST}", "${1}", "${A:-${B}}", "${A-x}"):
            error = self.assertRaises(ExpandError, expand, f"secret{text}secret", self.ENV)
            self.assertNotIn("secret", str(error))

    @given(st.text(st.sampled_from("${}:-AB "), max_size=20))
    def test_anything(self, text: str) -> None:
        """Any text is expanded or refused."""
        try:
            expand(text, {"A": "1"})
        except ExpandError:
            pass


class Describing(SynchronousTestCase):
    """How a message speaks of a value."""

    def test_as_written_and_as_read(self) -> None:
        """Both are told where they differ."""
        for text, expected in (
            ("on", "on, which YAML reads as the boolean true"),
            ("0123456", "0123456, which YAML reads as the number 42798"),
            ("22:22", "22:22, which YAML reads as the number 1342"),
            ("2026-11-25", "2026-11-25, which YAML reads as the date 2026-11-25"),
            ("~", "~, which YAML reads as null, that is nothing"),
            ("", "nothing"),
            ("5", "5, which is a number"),
            ("x", "'x'"),
            ("[]", "a list"),
            ("{}", "a mapping"),
        ):
            entries = parse_document(f"a: {text}".encode(), Collector()).entries or ()
            self.assertEqual(describe(entries[0].node), expected)

    def test_secrets(self) -> None:
        """Of a secret only the kind is told."""
        for value in ("sesame", 123456, 4.5, datetime.date(2026, 11, 25)):
            node = Node(value=value, written=str(value), language="YAML")
            self.assertNotIn(str(value), describe(node, secret=True))
