"""What waits for Deferreds and in tasks: places and names, no values."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from backplane.pending import pending_deferreds, pending_tasks

SECRET = "s3cret-value"


class PendingTests(SynchronousTestCase):
    """Of this process."""

    def found(self) -> dict[str, int]:
        shown, count = pending_deferreds()
        self.assertNotIn(SECRET, json.dumps(shown))
        self.assertGreaterEqual(count, sum(each["count"] for each in shown))
        return {
            each["waits"].partition(" in ")[2] or each["waits"]: each["count"] for each in shown
        }

    def test_coroutine(self) -> None:
        """A coroutine and a generator are named with the place where they wait."""
        gate: Deferred[str] = Deferred()

        async def coroutine(password: str) -> str:
            return await gate + password

        @inlineCallbacks
        def generator(password):  # type: ignore[no-untyped-def]
            yield gate
            return password

        before = self.found()
        waiting = [Deferred.fromCoroutine(coroutine(SECRET)), generator(SECRET)]
        name = "PendingTests.test_coroutine.<locals>.coroutine"
        new = {key for key in self.found() if self.found()[key] > before.get(key, 0)}
        self.assertTrue(any("coroutine" in key for key in new), (name, new))
        gate.callback("x")
        for each in waiting:
            self.successResultOf(each)

    def test_callback(self) -> None:
        """A first callback is named; what has fired is not there."""
        waits: Deferred[str] = Deferred()
        waits.addCallback(_first, SECRET)
        self.assertIn(f"{__name__}._first", self.found())
        waits.callback("x")
        self.assertNotIn(f"{__name__}._first", self.found())

    def test_evil(self) -> None:
        """Values that callbacks are given are not looked at; classes and callables are named."""

        class Evil:
            def __getattribute__(self, name: str) -> object:
                raise RuntimeError(SECRET)

            def __call__(self, result: object, *args: object) -> object:
                return result

        evil: Any = Evil()
        kept: list[Deferred[Any]] = [Deferred() for _ in range(4)]
        kept[0].addCallback(evil)
        kept[1].addCallback(_first, evil)
        kept[2].addCallback(int)
        found = self.found()
        self.assertIn("PendingTests.test_evil.<locals>.Evil", found)
        self.assertIn(f"{__name__}._first", found)
        self.assertIn("builtins.int", found)
        self.assertIn("nothing", found)

    def test_silent(self) -> None:
        """A program for which warnings are errors has an answer, too."""
        waits: Deferred[str] = Deferred()
        waits.addCallback(_first, SECRET)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertIn(f"{__name__}._first", self.found())

    def test_tasks(self) -> None:
        """The tasks of a loop, with coroutine and place."""

        async def sleeper(password: str) -> None:
            await asyncio.Event().wait()

        async def look() -> tuple[list[dict[str, str]], int]:
            task = asyncio.create_task(sleeper(SECRET), name="the-sleeper")
            await asyncio.sleep(0)
            found = pending_tasks(object())
            task.cancel()
            return found

        shown, count = asyncio.run(look())
        self.assertEqual(count, 2)
        (sleeping,) = (each for each in shown if each["name"] == "the-sleeper")
        self.assertTrue(sleeping["coroutine"].endswith("sleeper"))
        self.assertIn("test_pending.py:", sleeping["place"])
        self.assertNotIn(SECRET, json.dumps(shown))

    def test_no_loop(self) -> None:
        """Without a loop there are none."""
        self.assertEqual(pending_tasks(object()), ([], 0))


def _first(result: str, secret: str) -> str:
    return result + secret
