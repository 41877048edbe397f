"""A short fuzz of every layer, and the fuzzer itself."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.engine import Layer, run_layer
from tests.fuzz.layers import LAYERS, shares
from tests.fuzz.mutator import Mutator, smaller

INPUTS = 4000
"""Of all layers together; ``make fuzz`` takes a million."""

SEED = 20_231_114


class FuzzTests(SynchronousTestCase):
    """Each layer; the tests are made below."""

    def check(self, layer: Layer, inputs: int) -> None:
        """Feed a layer; nothing but its errors may come of it."""
        count, finding = run_layer(layer, inputs, SEED)
        self.assertIs(finding, None, str(finding))
        self.assertEqual(count.inputs, inputs)
        self.assertGreater(count.generated, 0)


def _test(layer: Layer, inputs: int) -> Callable[[FuzzTests], None]:
    def test(self: FuzzTests) -> None:
        self.check(layer, inputs)

    test.__doc__ = f"{layer.name}: nothing but the documented errors."
    return test


for _layer in LAYERS:
    _name = "".join(char if char.isalnum() else "_" for char in _layer.name.lower())
    setattr(FuzzTests, f"test_{_name}", _test(_layer, shares(INPUTS)[_layer.name]))


class EngineTests(SynchronousTestCase):
    """The fuzzer finds what there is to find."""

    def layer(self, read: Callable[[str], object], *seeds: str) -> Layer:
        """Return a layer of texts that may raise ``ValueError``."""
        return Layer(name="a layer", read=read, errors=(ValueError,), seeds=lambda: seeds)

    def test_shares(self) -> None:
        """All inputs are given out; names are unique."""
        for inputs in (1, 4000, 1_000_000):
            self.assertEqual(sum(shares(inputs).values()), inputs)
        self.assertEqual(len(shares(1)), len(LAYERS))

    def test_finding(self) -> None:
        """An input with a mistake is found and made small, by chance and by hypothesis."""

        def read(text: str) -> None:
            if "\u017f" in text:
                raise KeyError(text)
            if "0" in text:
                raise ValueError(text)

        _, finding = run_layer(self.layer(read, "a long text" * 50), 5000, 1)
        assert finding is not None
        self.assertEqual(finding.input, "\u017f")
        self.assertIsInstance(finding.error, KeyError)
        self.assertIn("a layer: '\u017f'\n", str(finding))

    def test_by_hypothesis(self) -> None:
        """What hypothesis finds is as small as it can make it."""

        def read(text: str) -> None:
            if len(text) > 2:
                raise KeyError(text)

        count, finding = run_layer(self.layer(read, ""), 1000, 1)
        assert finding is not None
        self.assertEqual(finding.input, "000")
        self.assertLess(count.inputs, 1000)

    def test_panic(self) -> None:
        """An error that is no ``Exception``, as libraries raise, is a finding too."""

        class Panic(BaseException):
            pass

        def read(text: str) -> None:
            raise Panic

        _, finding = run_layer(self.layer(read, "a"), 10, 1)
        assert finding is not None
        self.assertIsInstance(finding.error, Panic)

    def test_counts(self) -> None:
        """Inputs that are read are counted, and those that are refused are not."""

        def read(text: str) -> None:
            int(text)

        count, finding = run_layer(self.layer(read, "7"), 500, 1)
        self.assertIs(finding, None)
        self.assertEqual((count.inputs, count.generated), (500, 100))
        self.assertTrue(0 < count.taken < 500)

    def test_same_seed(self) -> None:
        """The same seed makes the same inputs, another one others."""

        def made(seed: int) -> list[str]:
            found: list[str] = []
            run_layer(self.layer(found.append, '{"a": [1, 2]}', "text"), 300, seed)
            return found

        self.assertEqual(made(3), made(3))
        self.assertNotEqual(made(3), made(4))

    def test_bytes(self) -> None:
        """What stands for bytes has characters that are bytes."""
        mutator = Mutator(random.Random(1), ["é"], binary=True)
        for _ in range(500):
            mutator.altered(["caf\xe9", '{"a": "b"}']).encode("latin-1")

    def test_smaller(self) -> None:
        """Only what is needed to show it is left."""
        self.assertEqual(smaller("xxaxxxxbxx", lambda text: "a" in text and "b" in text), "ab")
        self.assertEqual(smaller("abc", lambda text: len(text) == 3), "abc")
        self.assertEqual(smaller("abc", lambda text: True), "")
