"""The check of what a request sends against what an action declares."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.ddl import MAX_LISTED, ActionDDL, InputType, check_inputs
from backplane.choria.rpc import ActionError, StatusCode
from backplane.patterns import MAX_SUBJECT
from tests.choria.test_ddl import an_action, an_input


class CheckInputsTests(SynchronousTestCase):
    """What a request sends is checked before the action sees it."""

    def refused(self, action: ActionDDL, data: object, reason: str) -> None:
        """The request is answered with status 4 and this reason, in a short text."""
        error = self.assertRaises(ActionError, check_inputs, action, data)
        assert isinstance(error, ActionError)
        self.assertEqual(error.status, StatusCode.INVALID_DATA)
        self.assertEqual(error.message, f"Validation failed: {reason}")
        self.assertLess(len(error.message), 1000)

    def test_types(self) -> None:
        """For each type, what is of it and what is not."""
        good: dict[InputType, list[object]] = {
            "string": ["x"],
            "boolean": [True, False],
            "integer": [0, -5, 10**30],
            "float": [1.5, 2],
            "number": [1.5, 2],
            "Hash": [{}, {"a": 1}],
            "Array": [[], [1, "a"]],
            "list": ["one", "two"],
        }
        texts = {
            "string": "is not a string",
            "boolean": "is not a boolean",
            "integer": "is not an integer",
            "float": "is not a float",
            "number": "is not a number",
            "Hash": "is not a hash",
            "Array": "is not an array",
            "list": "is not a list",
        }
        values = [value for values in good.values() for value in values] + [None, 1.0]
        for type_, accepted in good.items():
            choices = ("one", "two") if type_ == "list" else ()
            action = an_action(an_input(type_, choices=choices))
            for value in accepted:
                found = check_inputs(action, {"x": value})
                self.assertIs(found["x"], value)
            for value in values:
                is_text = isinstance(value, str) and type_ in ("string", "list")
                same = any(type(value) is type(other) for other in accepted)
                if not same and not is_text:
                    self.refused(
                        action, {"x": value}, f"validation failed for input 'x': {texts[type_]}"
                    )

    def test_list(self) -> None:
        """One of the choices; a long list is not repeated whole."""
        action = an_action(an_input("list", choices=("one", "two")))
        self.refused(
            action, {"x": "three"}, "validation failed for input 'x': should be one of one, two"
        )
        many = tuple(f"c{number}" for number in range(500))
        action = an_action(an_input("list", choices=many))
        shown = ", ".join(many[:MAX_LISTED])
        self.refused(
            action, {"x": ""}, f"validation failed for input 'x': should be one of {shown}"
        )
        self.assertEqual(check_inputs(action, {"x": "c499"}), {"x": "c499"})

    def validated(self, validation: str, good: list[str], bad: list[str], reason: str) -> None:
        """``good`` texts pass a validation and ``bad`` ones do not."""
        action = an_action(an_input(validation=validation))
        for text in good:
            self.assertEqual(check_inputs(action, {"x": text}), {"x": text})
        for text in bad:
            self.refused(action, {"x": text}, f"validation failed for input 'x': {reason}")

    def test_patterns(self) -> None:
        """A regular expression is searched; RE2, not Python's."""
        self.validated(".", ["a", "\na"], ["", "\n"], "does not match .")
        self.validated("^[a-z]+$", ["abc"], ["", "a b", "a\n"], "does not match ^[a-z]+$")
        self.validated(r"^\d+\z", ["12"], ["12\n", "\u0661"], r"does not match ^\d+\z")

    def test_long_text(self) -> None:
        """A text beyond what is searched does not match, however large."""
        fits = "a" * MAX_SUBJECT
        self.validated("a", [fits], [fits + "a", "a" * 10**6], "does not match a")

    def test_shellsafe(self) -> None:
        """Nothing that a shell would take for more than a word."""
        bad = ["`id`", "$x", "a;b", "a|b", "a&b", "a&&b", ">f", "<f"]
        self.validated("shellsafe", ["", "a b", "a'b-é"], bad, "is not shellsafe")

    def test_addresses(self) -> None:
        """Addresses without zones, masks or blanks."""
        four, six = ["10.0.0.1", "255.255.255.255"], ["::1", "2001:db8::1", "::ffff:10.0.0.1"]
        bad = ["", "x", "10.0.0.1/8", " 10.0.0.1", "10.0.0.1\n", "10.1", "256.0.0.1", "010.0.0.1"]
        bad += ["::1%eth0", "fe80::1%$(reboot)", "fe80::1%;id", "\u0661.0.0.1", ":::", "1" * 10**5]
        self.validated("ipv4address", four, six + bad, "is not ipv4address")
        self.validated("ipv6address", six, four + bad, "is not ipv6address")
        self.validated("ipaddress", four + six, bad, "is not ipaddress")

    def test_maxlength(self) -> None:
        """Counted in characters; 0 is no limit, and the pattern is checked all the same."""
        action = an_action(an_input(maxlength=3))
        self.assertEqual(check_inputs(action, {"x": "éé😀"}), {"x": "éé😀"})
        self.refused(
            action,
            {"x": "abcd"},
            "validation failed for input 'x': is longer than 3 characters",
        )
        self.validated("^a", ["a" * 5000], ["b"], "does not match ^a")

    def test_required_and_default(self) -> None:
        """Required, optional, or filled in."""
        self.refused(an_action(an_input()), {}, "input 'x' is required")
        self.assertEqual(check_inputs(an_action(an_input(optional=True)), {}), {})
        self.assertEqual(check_inputs(an_action(an_input(default="d")), {}), {"x": "d"})
        self.assertEqual(
            check_inputs(an_action(an_input("boolean", default=False)), {})["x"], False
        )

    def test_null(self) -> None:
        """Null is a value of no type, for optional inputs, too."""
        action = an_action(an_input(optional=True, default="d"))
        self.refused(action, {"x": None}, "validation failed for input 'x': is not a string")

    def test_default_is_not_shared(self) -> None:
        """An action that changes a default changes it for itself alone."""
        action = an_action(an_input("Hash", default={"a": []}))
        check_inputs(action, {})["x"]["a"].append(1)
        self.assertEqual(check_inputs(action, {}), {"x": {"a": []}})

    def test_request_is_not_changed(self) -> None:
        """The data that came in stay as they are."""
        data = {"process_results": True}
        self.assertEqual(check_inputs(an_action(an_input(default="d")), data), {"x": "d"})
        self.assertEqual(data, {"process_results": True})

    def test_unknown(self) -> None:
        """An input that is not declared is refused, with the declared ones named."""
        self.refused(
            an_action(an_input(), an_input(name="b")),
            {"x": "a", "b": "b", "zz": 1, "yy": 2},
            "request contains an input 'yy' that is not declared in the DDL. "
            "Valid inputs are: b, x",
        )
        self.refused(
            an_action(), {"x": 1}, "request contains inputs while none are declared in the DDL"
        )
        name = "y" * 10**6
        self.refused(
            an_action(an_input()),
            {name: 1},
            f"request contains an input {name[:60]!r} that is not declared in the DDL. "
            "Valid inputs are: x",
        )

    def test_process_results(self) -> None:
        """Ruby's process_results is no input and never reaches the action."""
        for value in (True, False, None, "x"):
            self.assertEqual(check_inputs(an_action(), {"process_results": value}), {})

    def test_not_an_object(self) -> None:
        """Inputs that are no object are refused, null included."""
        values: tuple[object, ...] = (None, [], [["x", "a"]], "x", 1, True)
        for data in values:
            self.refused(an_action(), data, "the inputs are not an object")
