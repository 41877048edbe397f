"""Declarations of agents: their rules, as JSON and as Ruby."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.ddl import (
    DDL,
    SCHEMA,
    ActionDDL,
    Aggregate,
    Input,
    InputType,
    Metadata,
    Output,
)
from backplane.node.agent import Agent
from backplane.node.backplane import BackplaneAgent
from backplane.node.choria_util import ChoriaUtilAgent
from backplane.node.rpcutil import RpcutilAgent
from backplane.patterns import PatternError

GO_DDL: Final = (
    Path(__file__).parent.parent / "vectors/config/insecure/client1/lib/choria/agent/backplane.json"
)

BUILT_IN: Final[dict[str, type[Agent]]] = {
    "backplane": BackplaneAgent,
    "rpcutil": RpcutilAgent,
    "choria_util": ChoriaUtilAgent,
}

TYPES: Final = ("string", "boolean", "integer", "float", "number", "Hash", "Array", "list")

UGLY: Final = 'a "b" \\ #{exit!} #$x #@y `z` \n\r\t\x00\x1b \' é 😀 \u2028 do end { ['


def metadata(**named: Any) -> Metadata:
    """Return the metadata of an agent."""
    fields = {"name": "orders", "description": "d", "version": "1.0.0", "author": "a", **named}
    return Metadata(**fields)


def an_input(type: InputType = "string", **named: Any) -> Input:
    """Return an input named ``x``."""
    return Input(**{"name": "x", "prompt": "X", "description": "d", "type": type, **named})


def an_action(*inputs: Input, **named: Any) -> ActionDDL:
    """Return an action with these inputs."""
    return ActionDDL(**{"name": "run", "description": "d", "inputs": inputs, **named})


def ugly() -> DDL:
    """Return a declaration with everything that quoting can get wrong, everywhere."""
    return DDL(
        metadata=metadata(description=UGLY, author=UGLY, license=UGLY, url=UGLY),
        actions=(
            an_action(
                an_input(prompt=UGLY, description=UGLY, default=UGLY, validation='"|#{1}[\\\\]'),
                an_input("list", name="y", choices=(UGLY, "b"), optional=True),
                an_input("Hash", name="z", default={UGLY: [UGLY, 1.5, True, None]}),
                an_input("string", name="v", validation="shellsafe", maxlength=7),
                description=UGLY,
                outputs=(
                    Output(name="o", description=UGLY, display_as=UGLY, default=[UGLY]),
                    Output(name="p", description="", display_as="", type="integer", default=0),
                ),
                display="always",
                aggregates=(
                    Aggregate(function="summary", args=("o",)),
                    Aggregate(function="average", args=("p", {"format": f"{UGLY} %d"})),
                ),
            ),
            an_action(name="bare", description=""),
        ),
    )


OUR_INFO = {
    *("health_state", "health_age", "secure"),
    *("state", "in_flight", "breakers", "changes"),
}
"""Outputs of ``info`` that Go's has not."""


class BuiltInTests(SynchronousTestCase):
    """The agents that every backplane has."""

    def test_like_go(self) -> None:
        """Go's backplane agent and ours have the same actions, outputs and summaries."""
        go = json.loads(GO_DDL.read_text(encoding="utf-8"))
        ours = json.loads(BackplaneAgent.full_ddl().to_json())
        self.assertEqual(ours["$schema"], go["$schema"])
        for key in ("name", "description", "author", "license", "url", "timeout"):
            self.assertEqual(ours["metadata"][key], go["metadata"][key])
        actions = {action["action"]: action for action in ours["actions"]}
        wanted = {action["action"]: action for action in go["actions"]}
        del wanted["nosuchaction"]  # put into the capture's file by hand
        self.assertEqual(
            actions.keys() - wanted.keys(),
            {"threaddump", "change", "end", "amend", "changes", "loggers", "stalls"},
        )
        for name, theirs in wanted.items():
            our = actions[name]
            self.assertEqual(our["input"], theirs["input"], name)
            self.assertEqual(our["display"], theirs["display"], name)
            self.assertEqual(our["aggregate"], theirs["aggregate"], name)
            for output, fields in theirs["output"].items():
                self.assertEqual(our["output"][output]["type"], fields["type"], output)
                self.assertEqual(our["output"][output]["display_as"], fields["display_as"])
            added = OUR_INFO if name == "info" else set()
            self.assertEqual(our["output"].keys() - theirs["output"].keys(), added, name)

    def test_standard_agents(self) -> None:
        """The actions of rpcutil and choria_util, with their inputs."""
        inputs = {
            (name, action["action"]): set(action["input"])
            for name in ("rpcutil", "choria_util")
            for action in json.loads(BUILT_IN[name].full_ddl().to_json())["actions"]
        }
        wanted: dict[str, dict[str, set[str]]] = {
            "rpcutil": {
                "ping": set(),
                "inventory": set(),
                "collective_info": set(),
                "agent_inventory": set(),
                "get_fact": {"fact"},
                "get_facts": {"facts"},
                "daemon_stats": set(),
            },
            "choria_util": {"info": set(), "machine_states": set()},
        }
        for agent, actions in wanted.items():
            for action, names in actions.items():
                self.assertEqual(inputs[agent, action], names, (agent, action))

    def test_schema(self) -> None:
        """Every built-in declaration obeys Choria's schema for them."""
        for name, agent in BUILT_IN.items():
            document = json.loads(agent.full_ddl().to_json())
            self.assertEqual(document["metadata"]["name"], name)
            check_schema(self, document)

    def test_ruby(self) -> None:
        """Every built-in declaration is sound Ruby."""
        for agent in BUILT_IN.values():
            check_ruby(self, agent.full_ddl().to_ruby())


def check_schema(test: SynchronousTestCase, document: dict[str, Any]) -> None:
    """``document`` has the keys and types of Choria's schema for declarations."""
    test.assertEqual(set(document), {"$schema", "metadata", "actions"})
    test.assertEqual(document["$schema"], SCHEMA)
    about = document["metadata"]
    for key in ("license", "author", "name", "version", "url", "description"):
        test.assertIsInstance(about[key], str)
        test.assertTrue(about[key], key)
    test.assertRegex(about["name"], r"^[a-z0-9_]+$")
    test.assertRegex(about["version"], r"^\d+\.\d+\.\d+")
    test.assertGreaterEqual(about["timeout"], 2)
    for action in document["actions"]:
        test.assertEqual(
            set(action), {"action", "input", "output", "display", "description", "aggregate"}
        )
        test.assertIn(action["display"], ("ok", "failed", "always"))
        for item in action["input"].values():
            test.assertIn(item["type"], TYPES)
            test.assertIsInstance(item["optional"], bool)
            test.assertTrue({"prompt", "description"} <= item.keys())
            test.assertEqual("maxlength" in item, item["type"] == "string")
            test.assertEqual("validation" in item, item["type"] == "string")
            test.assertEqual("list" in item, item["type"] == "list")
        for item in action["output"].values():
            test.assertTrue({"description", "display_as"} <= item.keys())
            test.assertTrue(item.keys() <= {"description", "display_as", "type", "default"})
        for aggregate in action["aggregate"]:
            test.assertIn(aggregate["function"], ("summary", "average", "chart"))
            test.assertIn(aggregate["args"][0], action["output"])


def ruby_strings(test: SynchronousTestCase, text: str) -> tuple[str, list[str]]:
    """Take double-quoted strings out of Ruby; return the rest and the raw strings."""
    rest, strings, position = [], [], 0
    while position < len(text):
        if text[position] != '"':
            rest.append(text[position])
            position += 1
            continue
        end = position + 1
        while text[end] != '"':
            end += 2 if text[end] == "\\" else 1
            test.assertLess(end, len(text), "a string has no end")
        strings.append(text[position + 1 : end])
        rest.append("S")
        position = end + 1
    return "".join(rest), strings


def check_ruby(test: SynchronousTestCase, text: str) -> None:
    """``text`` is balanced, and no string ends early, breaks or runs code."""
    code, strings = ruby_strings(test, text)
    for string in strings:
        plain = string.replace("\\\\", "").replace("\\#", "")
        test.assertNotIn("#", plain, "an interpolation could begin")
        test.assertTrue(plain.replace("\\", "").isprintable() or "\u2028" in plain, repr(plain))
        test.assertNotIn("\\ud", plain, "Ruby knows no surrogate pairs")
    words = code.replace(",", " ").split()
    test.assertEqual(words.count("do"), words.count("end"))
    for start, end in ("()", "[]", "{}"):
        test.assertEqual(code.count(start), code.count(end))
    test.assertRegex(code, r"\A[A-Za-z0-9_:=>,.{}()\[\] \n-]*\Z")
    ruby = shutil.which("ruby")
    if ruby is not None:
        done = subprocess.run(
            [ruby, "-c"], input=text.encode(), capture_output=True, check=False, timeout=60
        )
        test.assertEqual(done.returncode, 0, done.stderr)


class TextTests(SynchronousTestCase):
    """The two texts of a declaration."""

    def test_json(self) -> None:
        """What was declared is in the JSON text, whatever characters it has."""
        text = ugly().to_json()
        self.assertTrue(text.endswith("}\n"))
        document = json.loads(text)
        check_schema(self, document)
        action = document["actions"][0]
        self.assertEqual(
            action["input"]["x"],
            {
                "prompt": UGLY,
                "description": UGLY,
                "type": "string",
                "optional": False,
                "default": UGLY,
                "validation": '"|#{1}[\\\\]',
                "maxlength": 0,
            },
        )
        self.assertEqual(action["input"]["y"]["list"], [UGLY, "b"])
        self.assertEqual(action["output"]["p"]["default"], 0)
        self.assertNotIn("type", action["output"]["o"])
        self.assertEqual(
            action["aggregate"][1],
            {"function": "average", "args": ["p", {"format": f"{UGLY} %d"}]},
        )

    def test_ruby(self) -> None:
        """What was declared is quoted in the Ruby text, and nothing of it is code."""
        text = ugly().to_ruby()
        check_ruby(self, text)
        shown = json.dumps(UGLY, ensure_ascii=False)
        self.assertIn(":prompt      => " + shown.replace("#", "\\#"), text)
        code, strings = ruby_strings(self, text)
        self.assertGreaterEqual(
            sum(json.loads(f'"{string}"'.replace("\\#", "#")) == UGLY for string in strings), 12
        )
        self.assertIn("{:format => S}", code)
        self.assertIn("{S => [S, 1.5, true, nil]}", code)

    def test_ruby_layout(self) -> None:
        """A small declaration as a person would write it."""
        ddl = DDL(
            metadata=metadata(),
            actions=(
                an_action(
                    an_input(validation="ipaddress", maxlength=40),
                    outputs=(
                        Output(name="place", description="D", display_as="P", type="integer"),
                    ),
                    aggregates=(Aggregate(function="summary", args=("place",)),),
                ),
                an_action(name="ping", display="ok"),
            ),
        )
        wanted = [
            'metadata :name        => "orders",',
            '         :description => "d",',
            '         :author      => "a",',
            '         :license     => "unspecified",',
            '         :version     => "1.0.0",',
            '         :url         => "unspecified",',
            "         :timeout     => 10",
            "",
            'action "run", :description => "d" do',
            "  display :failed",
            "",
            '  input :x, :prompt      => "X",',
            '            :description => "d",',
            "            :type        => :string,",
            "            :optional    => false,",
            "            :validation  => :ipaddress,",
            "            :maxlength   => 40",
            "",
            '  output :place, :description => "D",',
            '                 :display_as  => "P",',
            '                 :type        => "integer"',
            "",
            "  summarize do",
            "    aggregate summary(:place)",
            "  end",
            "end",
            "",
            'action "ping", :description => "d" do',
            "  display :ok",
            "end",
            "",
        ]
        self.assertEqual(ddl.to_ruby().split("\n"), wanted)

    @settings(deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cn", "Cf", "Co"])))
    def test_any_description(self, text: str) -> None:
        """Any description stays a description."""
        _, strings = ruby_strings(
            self, DDL(metadata=metadata(), actions=(an_action(description=text),)).to_ruby()
        )
        self.assertEqual(json.loads(f'"{strings[-1]}"'.replace("\\#", "#")), text)


class DeclarationTests(SynchronousTestCase):
    """Mistakes are found where something is declared."""

    def test_metadata(self) -> None:
        """Name, version and timeout have their forms."""
        for name in ("", "Orders", "or-ders", "a.b", "a b", "é", "a\n", None):
            self.assertRaises(ValueError, metadata, name=name)
        for version in ("", "1", "v1.0.0", "1.0.0 ", "a.b.c", "1.0.0\n"):
            self.assertRaises(ValueError, metadata, version=version)
        for version in ("1.0", "1.2.3", "0.0.1-rc.1", "1.2.3+build", "1.2.3.dev1"):
            self.assertEqual(metadata(version=version).version, version)
        self.assertEqual(metadata(timeout=2).timeout, 2)
        self.assertRaises(ValueError, metadata, timeout=1)

    def test_names(self) -> None:
        """Names of actions, inputs and outputs are words of both languages."""
        for name in ("", "1a", "a-b", "a b", "a:b", "é", "a\n", '"'):
            self.assertRaises(ValueError, an_input, name=name)
            self.assertRaises(ValueError, an_action, name=name)
            self.assertRaises(ValueError, Output, name=name, description="", display_as="")

    def test_inputs(self) -> None:
        """An unknown type, a list without choices, a pattern that is none."""
        self.assertRaises(ValueError, an_input, "text")
        self.assertRaises(ValueError, an_input, "hash")
        self.assertRaises(ValueError, an_input, "list")
        for pattern in ("(", "(?=a)", "a{1001}", "x" * 10**6):
            self.assertRaises(PatternError, an_input, validation=pattern)
        self.assertEqual(an_input("integer", validation="(").validation, "(")  # for strings only
        self.assertRaises(ValueError, an_input, maxlength=-1)

    def test_defaults(self) -> None:
        """A default is one of the values that the input takes."""
        for kind, default, more in (
            ("integer", "1", {}),
            ("integer", 1.0, {}),
            ("boolean", 1, {}),
            ("list", "c", {"choices": ("a", "b")}),
            ("string", "abc", {"maxlength": 2}),
            ("string", "abc", {"validation": "^x"}),
        ):
            error = self.assertRaises(ValueError, an_input, kind, default=default, **more)
            self.assertIn("input x: the default", str(error))
        self.assertEqual(an_input("list", choices=("a", "b"), default="b").default, "b")

    def test_items(self) -> None:
        """Inputs and outputs are what they should be, and each name is there once."""
        output = Output(name="o", description="", display_as="")
        for inputs, outputs, error in (
            ((an_input(), an_input("integer")), (), ValueError),
            ((), (output, output), ValueError),
            (("x",), (), TypeError),
            ((), (an_input(),), TypeError),
        ):
            self.assertRaises(error, an_action, *inputs, outputs=outputs)
        self.assertRaises(TypeError, an_action, description=None)
