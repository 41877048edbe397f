"""Breakers with names: which there are, and that one is not the other."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from backplane.errors import StateError
from backplane.interfaces import INamedBreakers, IPausable
from backplane.parts import Application, Breaker, Breakers
from backplane.parts.breakers import MAX_BREAKERS
from tests.parts.working import SAFETY, in_thread


class Own:
    """A breaker of somebody else's kind."""

    def __init__(self) -> None:
        self.open = False

    def pause(self) -> None:
        self.open = True

    def resume(self) -> None:
        self.open = False

    def flip(self) -> None:
        self.open = not self.open

    def paused(self) -> bool:
        return self.open


class NameTests(SynchronousTestCase):
    """Names, and what stands under them."""

    def test_one_each(self) -> None:
        """A name has one breaker, whoever asks; it is made when it is first asked for."""
        breakers = Breakers("payments", "search")
        verifyObject(INamedBreakers, breakers)
        payments = breakers.breaker("payments")
        verifyObject(IPausable, payments)
        self.assertIs(breakers.breaker("payments"), payments)
        self.assertIs(breakers["payments"], payments)
        self.assertEqual(list(breakers), ["payments", "search"])
        self.assertNotIn("mail", breakers)
        self.assertFalse(breakers.breaker("mail").paused())
        self.assertIn("mail", breakers)
        self.assertEqual((len(breakers), repr(breakers)), (3, "<Breakers payments search mail>"))

    def test_snapshot(self) -> None:
        """What is handed out is the caller's own."""
        breakers = Breakers("payments")
        breakers.breakers().clear()
        self.assertEqual(list(breakers()), ["payments"])
        self.assertRaises(KeyError, lambda: breakers["search"])

    def test_names(self) -> None:
        """Only names that an operator can type, and that stand in a target."""
        good = ("a", "db.eu-1_x", "0", "x" * 64)
        self.assertEqual(list(Breakers(*good)), list(good))
        wrong: tuple[Any, ...] = ("", "x" * 65, "Payments", "a b", "a:b", "é", "a\n", None, 7)
        for name in wrong:
            self.assertRaises(ValueError, Breakers, name)
            self.assertRaises(ValueError, Breakers().add, name, Breaker())

    def test_added(self) -> None:
        """One that there is already may be added, of any kind, once."""
        breakers, own, known = Breakers("search"), Own(), Breaker()
        breakers.add("payments", own)
        breakers.add("mail", known)
        self.assertIs(breakers()["payments"], own)
        self.assertIs(breakers.breaker("mail"), known)
        error = self.assertRaises(TypeError, breakers.breaker, "payments")
        self.assertIn("Own", str(error))
        self.assertRaises(ValueError, breakers.add, "search", Own())
        self.assertIsInstance(breakers["search"], Breaker)
        error = self.assertRaises(TypeError, breakers.add, "x", object())
        self.assertEqual(str(error), "object has no method pause()")
        self.assertNotIn("x", breakers)

    def test_bound(self) -> None:
        """A name that differs for each request does not fill the memory, nor the replies."""
        breakers = Breakers(*(f"b{number}" for number in range(MAX_BREAKERS)))
        self.assertRaises(StateError, breakers.breaker, "one.more")
        self.assertRaises(StateError, breakers.add, "one.more", Breaker())
        self.assertEqual(len(breakers), MAX_BREAKERS)
        self.assertIsInstance(breakers.breaker("b7"), Breaker)


class WaitingTests(SynchronousTestCase):
    """Each lets go who waits on it."""

    def setUp(self) -> None:
        self.app = Application(breakers=("payments", "search"))
        self.payments = self.app.breakers.breaker("payments")

    def test_apart(self) -> None:
        """Neither another name nor the whole stops work on one, nor the other way round."""
        self.payments.pause()
        self.assertTrue(self.app.breakers.breaker("search").closed)
        self.assertFalse(self.app.paused())
        self.app.pause()
        self.payments.resume()
        self.assertTrue(self.payments.closed)
        self.assertTrue(self.app.paused())

    def test_threads(self) -> None:
        """A thread that waits on one goes on when that one is closed, in whatever thread."""
        self.payments.pause()
        waiting = in_thread(self.payments.wait)
        in_thread(self.app.breakers.breaker("search").resume).result(SAFETY)
        self.assertFalse(waiting.done())
        in_thread(self.payments.resume).result(SAFETY)
        self.assertTrue(waiting.result(SAFETY))

    def test_made_at_once(self) -> None:
        """Threads that ask for a new name at the same time get the same breaker."""
        asked = [in_thread(self.app.breakers.breaker, "mail") for _ in range(20)]
        self.assertEqual(len({id(each.result(SAFETY)) for each in asked}), 1)

    def test_asyncio(self) -> None:
        done: list[str] = []

        async def work(name: str) -> None:
            async with self.app.breakers.breaker(name):
                done.append(name)

        async def main() -> None:
            self.payments.pause()
            pay = asyncio.create_task(work("payments"))
            await work("search")
            self.assertEqual(done, ["search"])
            in_thread(self.payments.resume)
            await asyncio.wait_for(pay, SAFETY)

        in_thread(lambda: asyncio.run(main())).result(SAFETY)
        self.assertEqual(done, ["search", "payments"])
