"""Where code runs, and what a function is."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from backplane.parts import places
from backplane.parts.places import OnLoop, OnReactor, here, in_task, kind_of
from tests.node.threads import QueueReactor
from tests.parts.working import joined


class Running(QueueReactor):
    """A reactor that says whether it runs."""

    running = True


class HereTests(SynchronousTestCase):
    """Where the caller is."""

    def test_thread(self) -> None:
        """A thread in which nothing runs may be blocked."""
        self.assertIsNone(joined(here))
        self.assertFalse(joined(in_task))

    def test_loop(self) -> None:
        async def main() -> None:
            place = here()
            assert isinstance(place, OnLoop)
            self.assertIs(place.loop, asyncio.get_running_loop())
            self.assertTrue(in_task())
            self.assertIsNone(joined(here))
            called: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: called.set_result(in_task()))
            self.assertFalse(await called)

        asyncio.run(main())

    def test_reactor(self) -> None:
        """The thread of the program's reactor, while that runs."""
        reactor = Running()
        self.patch(places, "host_reactor", lambda: reactor)
        self.patch(threadable, "ioThread", threading.get_ident())
        self.assertIsInstance(here(), OnReactor)
        self.assertIsNone(joined(here))
        reactor.running = False
        self.assertIsNone(here())

    def test_no_reactor_imported(self) -> None:
        """The parts do not bring a reactor along."""
        code = (
            "import sys, backplane.parts as parts\n"
            "app = parts.Application(shutdown=print)\n"
            "app.health.add('a', lambda: True)\n"
            "app.pause(), app.breaker.when_closed_deferred(), app.health_check(), app.resume()\n"
            "assert 'twisted.internet.reactor' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class PlaceTests(SynchronousTestCase):
    """What can be done with a place."""

    def test_closed_loop(self) -> None:
        """Nobody waits on a loop that is closed."""
        with closing(asyncio.new_event_loop()) as loop:
            place = OnLoop(loop)
        place.post(self.fail)

    def test_clock(self) -> None:
        """A clock does at once what it is handed, and later what is for later."""
        clock = Clock()
        place = OnReactor(clock)
        called: list[str] = []
        place.post(lambda: called.append("now"))
        place.later(2, lambda: called.append("later"))
        never = place.later(1, self.fail)
        never()
        never()
        clock.advance(3)
        self.assertEqual((called, place.threads), (["now", "later"], False))


class Slow:
    """Its calls are coroutines."""

    async def __call__(self) -> None: ...

    async def method(self) -> None: ...


def plain() -> int:
    return 1


async def coroutine() -> None: ...


def told() -> Deferred[int]:
    return defer.succeed(1)


def told_in_text() -> Any:
    return defer.succeed(1)


told_in_text.__annotations__["return"] = "'Deferred[int]'"


def told_by_path() -> defer.Deferred[None]:
    return defer.succeed(None)


@inlineCallbacks
def inline() -> Generator[Deferred[Any], Any, None]:
    yield defer.succeed(1)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def unknown_annotation() -> None: ...


unknown_annotation.__annotations__["return"] = "Missing[int]"


class KindTests(SynchronousTestCase):
    """What a function is."""

    def test_kinds(self) -> None:
        for function, kind in (
            (plain, "plain"),
            (len, "plain"),
            (lambda: told(), "plain"),
            (functools.partial(plain), "plain"),
            (unknown_annotation, "plain"),
            (coroutine, "coroutine"),
            (functools.partial(coroutine), "coroutine"),
            (Slow(), "coroutine"),
            (Slow().method, "coroutine"),
            (told, "deferred"),
            (told_in_text, "deferred"),
            (told_by_path, "deferred"),
            (inline, "deferred"),
        ):
            self.assertEqual(kind_of(function), kind, function)
        annotated = functools.wraps(plain)(lambda: None)
        annotated.__annotations__ = {"return": Deferred}
        del annotated.__wrapped__
        self.assertEqual(kind_of(annotated), "deferred")
        annotated.__annotations__ = {"return": Deferred[int]}
        self.assertEqual(kind_of(annotated), "deferred")

    def test_said(self) -> None:
        """What is said goes before what is seen."""
        self.assertEqual(kind_of(plain, True), "deferred")
        self.assertEqual(kind_of(coroutine, True), "deferred")
        self.assertEqual(kind_of(told, False), "plain")
        self.assertEqual(kind_of(coroutine, False), "coroutine")

    def test_generators(self) -> None:
        """Nothing of a generator has happened when its call returns."""
        for function in (generator, async_generator):
            with self.assertRaisesRegex(TypeError, "generator: use a with statement"):
                kind_of(function)
