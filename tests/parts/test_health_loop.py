"""Health checks that are asked for on an asyncio loop, or beside one."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from backplane.parts import HealthChecks
from tests.parts.components import Report, bad, fine, without_seconds
from tests.parts.working import SAFETY, in_thread, joined


class LoopTests(SynchronousTestCase):
    """Asked for on an asyncio loop."""

    def setUp(self) -> None:
        self.health = HealthChecks(timeout=SAFETY)
        self.places: dict[str, Any] = {}

    async def coroutine(self) -> str:
        self.places["coroutine"] = asyncio.get_running_loop()
        await asyncio.sleep(0)
        return "c"

    def plain(self) -> str:
        self.places["plain"] = threading.get_ident()
        return "p"

    def deferred(self) -> Deferred[str]:
        self.places["deferred"] = threading.get_ident()
        return succeed("d")

    def add_all(self) -> Report:
        self.health.add("c", self.coroutine)
        self.health.add("p", self.plain)
        self.health.add("d", self.deferred)
        return {"c": fine("c"), "p": fine("p"), "d": fine("d")}, True

    def test_loop(self) -> None:
        """Coroutines are tasks of the loop, what may block has a thread, the loop goes on."""
        wanted = self.add_all()

        async def main() -> None:
            self.assertEqual(without_seconds(await self.health.run()), wanted)
            self.assertIs(self.places["coroutine"], asyncio.get_running_loop())
            self.assertNotEqual(self.places["plain"], threading.get_ident())
            self.assertEqual(self.places["deferred"], threading.get_ident())
            found = self.health.health_check()
            assert isinstance(found, Deferred)
            loop = asyncio.get_running_loop()
            self.assertEqual(without_seconds(await found.asFuture(loop)), wanted)

        asyncio.run(main())

    def test_loop_is_not_blocked(self) -> None:
        """What hangs in a thread is waited for by the loop's timer, while tasks run."""
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        self.health.add("db", lambda: go_on.wait(SAFETY), timeout=0.005)

        async def main() -> None:
            found, ok = await self.health.run()
            self.assertIn("has not returned", found["db"]["detail"])
            self.assertFalse(ok)

        asyncio.run(main())

    def test_thread(self) -> None:
        """Asked for in a thread, coroutines have a loop of their own."""
        wanted = self.add_all()
        self.assertEqual(without_seconds(joined(self.health.health_check)), wanted)
        self.assertTrue(self.places["coroutine"].is_closed())

    def test_plain_that_returns_a_coroutine(self) -> None:
        """It is run to its end."""
        self.health.add("c", lambda: self.coroutine())
        wanted = {"c": fine("c")}, True
        self.assertEqual(without_seconds(joined(self.health.health_check)), wanted)

    def test_deferred_that_was_not_said(self) -> None:
        """A Deferred that a thread has got is of no use, and it is said what to do."""
        self.health.add("d", lambda: self.deferred())
        found, ok = joined(self.health.health_check)
        self.assertIn("deferred=True", found["d"]["detail"])
        self.assertFalse(ok)

    def test_given_loop(self) -> None:
        """Asked for in a thread, coroutines are tasks of the loop that was given."""

        async def main() -> None:
            self.health.loop = asyncio.get_running_loop()
            wanted = self.add_all()
            asked = asyncio.wrap_future(in_thread(self.health.health_check))
            self.assertEqual(without_seconds(await asked), wanted)
            self.assertIs(self.places["coroutine"], asyncio.get_running_loop())

        asyncio.run(main())
        found, ok = without_seconds(joined(self.health.health_check))
        self.assertEqual(found["c"], bad("RuntimeError: the event loop is closed"))
        self.assertFalse(ok)

    def test_cancelled(self) -> None:
        """Who asks no longer ends what was begun for him."""

        async def main() -> None:
            begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            @self.health.check("db")
            async def database() -> None:
                begun.set_result(None)
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    ended.set_result(None)

            asking = asyncio.ensure_future(self.health.run())
            await begun
            asking.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await asking
            await asyncio.wait_for(ended, SAFETY)

        asyncio.run(main())

    def test_errors(self) -> None:
        """A coroutine that raises, and a function that fails to make one."""

        @self.health.check("a")
        async def coroutine() -> None:
            raise RuntimeError("away")

        def broken() -> None:
            raise RuntimeError("not even")

        self.health.add("b", broken)
        one_too_many: Any = coroutine
        self.health.add("c", partial(one_too_many, 1))

        async def main() -> None:
            found, ok = without_seconds(await self.health.run())
            self.assertEqual(found["a"], bad("RuntimeError: away"))
            self.assertEqual(found["b"], bad("RuntimeError: not even"))
            self.assertIn("TypeError", found["c"]["detail"])
            self.assertFalse(ok)

        asyncio.run(main())

    def test_component_cancels_itself(self) -> None:
        @self.health.check("db")
        async def database() -> None:
            raise asyncio.CancelledError

        async def main() -> None:
            self.assertEqual(
                without_seconds(await self.health.run()), ({"db": bad("was cancelled")}, False)
            )

        asyncio.run(main())
