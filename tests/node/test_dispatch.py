"""How actions are run: deadlines, one change at a time, the end."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from backplane.node import dispatch as module
from backplane.node.calling import Overdue
from tests.node.dispatching import DispatchCase


class DeadlineTests(DispatchCase):
    """No action keeps its caller waiting for ever, and none delays another."""

    def test_deadline(self) -> None:
        """A second before the agent's timeout the caller hears of it, by name and age."""
        for name in ("later", "coroutine", "sell"):
            waiting = self.start(name)
            self.clock.advance(10.99)
            self.assertNoResult(waiting)
            self.clock.advance(0.01)
            reply = self.reply(waiting)
            self.assertEqual(
                (reply.status, reply.message), (5, f"{name} has not returned after 11 s")
            )
            self.assertIdle()
        # All three were cancelled, and their Deferreds know it.
        self.assertEqual(len(self.shop.cancelled), 3)

    def test_hung_action_delays_nothing(self) -> None:
        """While some hang, others answer at once, the same one included."""
        hung = [self.start(name) for name in ("later", "threaded", "stubbornly", "sell")]
        self.assertEqual(self.ask("plain").status, 0)
        again = self.start("later")
        self.shop.waiting[-1].callback({})
        self.assertEqual(self.reply(again).status, 0)
        for waiting in hung:
            self.assertNoResult(waiting)
        self.clock.advance(11)
        for waiting in hung:
            self.assertEqual(self.reply(waiting).status, 5)

    def test_stubborn_action(self) -> None:
        """One that swallows its cancellation is answered for all the same."""
        waiting = self.start("stubbornly")
        self.clock.advance(11)
        self.assertEqual(self.reply(waiting).status, 5)
        self.assertIdle()
        self.shop.waiting[-1].callback({})
        self.assertEqual(self.log.events, [])

    def test_late_failure_is_logged(self) -> None:
        """What an action raises after its deadline is not lost."""
        self.start("stubbornly")
        self.clock.advance(11)
        self.shop.waiting[-1].errback(ZeroDivisionError())
        self.assertEqual(len(self.log.events), 1)
        self.assertTrue(self.log.events[0]["log_failure"].check(ZeroDivisionError))

    def test_thread_is_left(self) -> None:
        """A thread cannot be cancelled; its result is thrown away when it comes."""
        waiting = self.start("threaded")
        self.clock.advance(11)
        self.assertEqual(self.reply(waiting).status, 5)
        self.run_threads()
        self.assertIdle()

    def test_many(self) -> None:
        """More requests than can be under way together are refused with a text."""
        self.patch(module, "MAX_RUNNING", 3)
        for _ in range(3):
            self.start("later")
        reply = self.ask("plain")
        self.assertEqual((reply.status, reply.message), (5, "3 requests are under way already"))
        self.shop.waiting[0].callback({})
        self.assertEqual(self.ask("plain").status, 0)


class ChangeTests(DispatchCase):
    """State-changing actions run one at a time."""

    def test_second_change(self) -> None:
        """While one has not returned, the next is refused at once: which, by whom, since when."""
        first = self.start("sell", caller="choria=alice")
        self.clock.advance(3.2)
        reply = self.ask("refund")
        self.assertEqual(
            (reply.status, reply.message),
            (5, "sell, asked by choria=alice 3 s ago, has not returned"),
        )
        self.assertEqual(self.ask("sell").status, 5)
        self.assertEqual(self.ask("plain").status, 0)
        self.shop.waiting[0].callback({})
        self.assertEqual(self.reply(first).status, 0)
        self.assertEqual(self.ask("refund").status, 0)

    def test_after_a_failure(self) -> None:
        """A change that failed or was too late is no obstacle."""
        waiting = self.start("sell")
        self.shop.waiting[0].errback(ZeroDivisionError())
        self.assertEqual(self.reply(waiting).status, 5)
        self.start("sell")
        self.clock.advance(11)
        self.assertEqual(self.ask("refund").status, 0)

    def test_left_thread(self) -> None:
        """A change whose thread was left is under way until the thread ends."""
        waiting = self.start("restock", caller="choria=bob")
        self.clock.advance(11)
        self.assertEqual(self.reply(waiting).status, 5)
        self.clock.advance(1)
        self.assertEqual(
            self.ask("refund").message, "restock, asked by choria=bob 12 s ago, has not returned"
        )
        self.run_threads()
        self.assertEqual(self.ask("refund").status, 0)

    def test_left_thread_of_a_method(self) -> None:
        """The same when it is a method of the application that was left in its thread."""
        left: Deferred[None] = Deferred()
        waiting = self.start("sell")
        self.clock.advance(9)
        self.shop.waiting[0].errback(Overdue("sell_all", 9, left))
        self.assertEqual(self.reply(waiting).message, "sell_all has not returned after 9 s")
        self.assertIn("has not returned", self.ask("refund").message)
        left.callback(None)
        self.assertEqual(self.ask("refund").status, 0)

    def test_is_change(self) -> None:
        """Which bodies ask for a change; anything else is none."""
        for body, change in (
            (b'{"agent":"shop","action":"sell"}', True),
            (b'{"agent":"shop","action":"plain"}', False),
            (b'{"agent":"shop","action":"steal"}', False),
            (b"rubbish", False),
        ):
            self.assertIs(self.dispatcher.is_change("shop", body), change)
        self.assertFalse(self.dispatcher.is_change("other", b'{"action":"sell"}'))


class StopTests(DispatchCase):
    """Stopping ends what is under way."""

    def test_when_idle(self) -> None:
        """It fires with the last action, after its reply was made."""
        order: list[str] = []
        waiting = self.start("later")
        waiting.addCallback(lambda reply: order.append("reply"))
        idle = self.dispatcher.when_idle()
        idle.addCallback(lambda nothing: order.append("idle"))
        self.shop.waiting[0].callback({})
        self.assertEqual(order, ["reply", "idle"])

    def test_cancel(self) -> None:
        """Whatever is under way is answered for, threads and stubborn ones included."""
        waiting = [self.start(name) for name in ("later", "restock", "threaded", "stubbornly")]
        idle = self.dispatcher.when_idle()
        self.assertNoResult(idle)
        self.dispatcher.cancel()
        self.successResultOf(idle)
        for each in waiting:
            reply = self.reply(each)
            self.assertEqual(reply.status, 5)
            self.assertIn("was cancelled because the service stops", reply.message)
        self.assertIdle()
        self.run_threads()
        self.clock.advance(60)
        self.assertEqual(self.flushLoggedErrors(), [])
