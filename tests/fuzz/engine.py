"""Runs a layer: inputs made by chance from a seed, counted, and what was found."""

from __future__ import annotations

import random
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import attrs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.mutator import Mutator, smaller

__all__ = ["Count", "Finding", "Layer", "Read", "run_layer"]

ROUND: Final = 500
"""Examples of hypothesis in one go; it remembers what it had, and that takes memory."""

GENERATED: Final = 0.2
"""Share of the inputs that hypothesis makes; the others are altered ones."""


Read = Callable[[Any], object]


@attrs.frozen(kw_only=True)
class Layer:
    """Something that reads.

    :ivar read: reads an input, bytes or text; ``None`` with ``opened``.
    :ivar opened: starts something that reads, and stops it.
    :ivar errors: what it may raise.
    :ivar seeds: good inputs, to be altered.
    :ivar words: that inputs are made of.
    :ivar made: the strategy of hypothesis, in place of a mixture of words.
    :ivar binary: whether inputs are bytes.
    :ivar weight: share among all layers.
    """

    name: str
    read: Read | None = None
    opened: Callable[[], AbstractContextManager[Read]] | None = None
    errors: tuple[type[Exception], ...]
    seeds: Callable[[], Sequence[Any]]
    words: Sequence[str] = ()
    made: st.SearchStrategy[Any] | None = None
    binary: bool = False
    weight: int = 1


@attrs.frozen
class Finding:
    """An input that raised what it should not have."""

    layer: str
    input: Any
    error: BaseException

    def __str__(self) -> str:
        trace = "".join(traceback.format_exception(self.error)[-4:])
        return f"{self.layer}: {self.input!r}\n{trace}"


@attrs.define
class Count:
    """Of one layer.

    :ivar taken: inputs that were read without an error.
    :ivar slowest: seconds of the processor that the slowest one took.
    """

    inputs: int = 0
    generated: int = 0
    taken: int = 0
    slowest: float = 0.0


def run_layer(layer: Layer, inputs: int, start: int) -> tuple[Count, Finding | None]:
    """Feed a layer.

    :param inputs: how many.
    :param start: of the chance; the same one makes the same inputs.
    """
    with warnings.catch_warnings():
        # Libraries warn of odd certificates; where warnings are errors there are other tests.
        warnings.simplefilter("ignore")
        if layer.opened is None:
            assert layer.read is not None
            return _run(layer, layer.read, inputs, start)
        with layer.opened() as read:
            return _run(layer, read, inputs, start)


def _run(layer: Layer, read: Read, inputs: int, start: int) -> tuple[Count, Finding | None]:
    count = Count()
    runner = _Runner(layer, read, count)
    wanted = int(inputs * GENERATED)
    begin = start
    while runner.finding is None and count.inputs < wanted:
        before = count.inputs
        runner.generated(min(ROUND, wanted - count.inputs), begin)
        begin += 1
        if count.inputs == before:
            break
    count.generated = count.inputs
    if runner.finding is None:
        runner.altered(inputs - count.inputs, start)
    return count, runner.finding


class _Runner:
    def __init__(self, layer: Layer, read: Read, count: Count) -> None:
        self.finding: Finding | None = None
        self._layer = layer
        self._read = read
        self._count = count
        text = st.sampled_from(layer.words) | st.text(max_size=5) if layer.words else st.text()
        mixed: st.SearchStrategy[Any] = st.lists(text, max_size=20).map("".join)
        if layer.binary:
            mixed = st.binary(max_size=40) | mixed.map(lambda each: each.encode("utf-8", "replace"))
        self._made = layer.made if layer.made is not None else mixed

    def _raised(self, value: Any) -> BaseException | None:
        """Feed one input; return what it raised and should not have."""
        began = time.thread_time()
        try:
            self._read(value)
        except self._layer.errors:
            return None
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # also the panics of libraries, which are no Exception
            return error
        else:
            self._count.taken += 1
            return None
        finally:
            self._count.slowest = max(self._count.slowest, time.thread_time() - began)

    def generated(self, inputs: int, start: int) -> None:
        """Feed what hypothesis makes; it makes a finding smaller by itself."""
        last: list[tuple[Any, BaseException]] = []

        @seed(start)
        @settings(
            max_examples=inputs,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
        )
        @given(self._made)
        def feed(value: Any) -> None:
            self._count.inputs += 1
            error = self._raised(value)
            if error is not None:
                last.append((value, error))
                raise AssertionError from error

        try:
            feed()
        except AssertionError:
            self.finding = Finding(self._layer.name, *last[-1])

    def altered(self, inputs: int, start: int) -> None:
        """Feed good inputs that were altered."""
        layer = self._layer
        seeds = [_as_text(each) for each in layer.seeds()]
        mutator = Mutator(random.Random(start), layer.words, binary=layer.binary)
        for _ in range(inputs):
            text = mutator.altered(seeds)
            self._count.inputs += 1
            error = self._raised(self._value(text))
            if error is not None:
                self._found(text, error)
                return

    def _value(self, text: str) -> Any:
        return text.encode("latin-1") if self._layer.binary else text

    def _found(self, text: str, error: BaseException) -> None:
        def shows(shorter: str) -> bool:
            again = self._raised(self._value(shorter))
            return type(again) is type(error)

        text = smaller(text, shows)
        again = self._raised(self._value(text))
        self.finding = Finding(self._layer.name, self._value(text), again or error)


def _as_text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
