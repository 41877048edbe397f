"""Managements on loops that are stopped at odd moments, by several at once, or not at all."""

from __future__ import annotations

from tests.embedding.process import QuietCase


class LoopTests(QuietCase):
    """On a loop."""

    def test_stopped_by_many(self) -> None:
        """All tasks that stop it wait until it is stopped."""
        self.succeed(
            """
            async def main():
                before = open_files(), threading.active_count()
                management = await aio.start(config, RecordingApplication())
                await management.when_ready()

                async def stop():
                    await management.stop()
                    return management.state.phase.name

                stopped = await asyncio.gather(stop(), stop(), stop())
                assert stopped == ["STOPPED"] * 3, stopped
                nothing_left(management)
                assert (open_files(), threading.active_count()) == before

            asyncio.run(main())
            """
        )

    def test_stop_cancelled(self) -> None:
        """A stop that is cancelled is over soon, whatever it was waiting for; nothing is left."""
        self.succeed(
            """
            from backplane.client import AsyncClient

            class App(RecordingApplication):
                async def pause(self):
                    paused.set()
                    await asyncio.sleep(3600)

            async def main():
                global paused
                paused = asyncio.Event()
                management = await aio.start(config, App())
                await management.when_ready()
                async with AsyncClient(config["brokers"], insecure=True) as client:
                    nodes = [config["identity"]]
                    asking = asyncio.ensure_future(client.request("app", "pause", nodes=nodes))
                    await paused.wait()
                    try:
                        await asyncio.wait_for(management.stop(), 0.01)
                    except asyncio.TimeoutError:
                        print("cancelled")
                    asking.cancel()
                    await asyncio.wait([asking])
                assert management.state.phase.name == "STOPPED", management.state
                nothing_left(management)
                await management.stop()
                async with aio.running(config, RecordingApplication()) as another:
                    await another.when_ready()
                assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()

            asyncio.run(main())
            """
        )

    def test_start_fails(self) -> None:
        """Where it cannot be made or started, or is not, nothing is left."""
        self.succeed(
            """
            from backplane.errors import BackplaneError

            async def main():
                before = open_files(), threading.active_count()
                async with aio.running(config):
                    for given, provided in (
                        ({"name": "App"}, ()),
                        (config, (object(),)),
                        (config, ()),  # of that name one is running
                    ):
                        try:
                            await aio.start(given, *provided)
                        except (BackplaneError, TypeError):
                            continue
                        raise AssertionError(given)
                await aio.AsyncManagement(config).stop()
                assert (open_files(), threading.active_count()) == before

            asyncio.run(main())
            """
        )

    def test_publish_cancelled(self) -> None:
        """A task that is cancelled as it publishes takes nothing with it but itself."""
        self.silent_broker()
        self.succeed(
            """
            async def main():
                async with aio.running(config, RecordingApplication()) as management:
                    for wait in (
                        management.when_ready,
                        lambda: management.publish(DataItem("x")),
                    ):
                        try:
                            await asyncio.wait_for(wait(), 0.05)
                        except asyncio.TimeoutError:
                            print("cancelled")
                    await management.put(DataItem("y"))
                    statistics = management._management.data_outbox.statistics
                    assert statistics.items == 2, statistics

            asyncio.run(main())
            """
        )

    def test_loop_closed(self) -> None:
        """A loop that is closed under it: its name is free, and the rest can be cleaned up."""
        self.succeed(
            """
            async def begin():
                management = await aio.start(config, RecordingApplication())
                await management.when_ready()
                return management

            before = open_files(), threading.active_count()
            left = [asyncio.run(begin()) for _ in range(3)]
            for management in left:
                asyncio.run(management.stop())
            assert (open_files(), threading.active_count()) == before

            async def again():
                management = await begin()
                await management.stop()

            asyncio.run(again())
            """
        )

    def test_thread_returns_late(self) -> None:
        """What hangs in a thread, and returns once the loop is closed, finds nobody."""
        self.succeed(
            """
            release = threading.Event()

            class App(RecordingApplication):
                def health_check(self):
                    begun.set()
                    release.wait(60)
                    return "late", True

            begun = threading.Event()

            async def main():
                async with aio.running(config, App()) as management:
                    await management.when_ready()
                    calls = management._management._node._calls["health"]
                    calls.read("health_check", deadline=1).addErrback(lambda _: None)
                    assert await asyncio.to_thread(begun.wait, 30)

            asyncio.run(main())
            (thread,) = [each for each in threading.enumerate() if each.name == "backplane-call"]
            release.set()
            thread.join(30)
            assert not thread.is_alive()
            """
        )

    def test_signals(self) -> None:
        """No signal handler is touched, and the loop keeps its own wakeup."""
        self.succeed(
            """
            import signal

            def handlers():
                return {number: signal.getsignal(number) for number in signal.valid_signals()}

            async def main():
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGTERM, lambda: None)
                before, wakeup = handlers(), signal.set_wakeup_fd(-1)
                signal.set_wakeup_fd(wakeup)
                async with aio.running(config, RecordingApplication()) as management:
                    await management.when_ready()
                    assert handlers() == before
                assert handlers() == before
                assert signal.set_wakeup_fd(wakeup) == wakeup

            asyncio.run(main())
            """
        )
