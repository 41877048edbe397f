"""``backplane.aio``."""

from __future__ import annotations

import textwrap

from tests.embedding.process import ProgramCase


class LoopTests(ProgramCase):
    """On loops of programs of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.config["loglevel"] = "critical"

    LIFE = """
        class App(RecordingApplication):
            async def health_check(self):
                await asyncio.sleep(0)
                assert asyncio.get_running_loop() is loop
                return {"task": asyncio.current_task() is not None}, True

        async def life():
            async with aio.running(config, App()) as management:
                await management.when_ready()
                await management.put(DataItem("x"))
                await management.publish(DataItem("y"))
                assert management.state.ready
            assert not management.state.ready
            nothing_left(management)

        async def main():
            global loop
            loop = asyncio.get_running_loop()
            troubles = []
            loop.set_exception_handler(lambda _, context: troubles.append(context))
            before = open_files(), threading.active_count(), len(asyncio.all_tasks())
            for number in range(10):
                await life()
                now = open_files(), threading.active_count(), len(asyncio.all_tasks())
                assert now == before, (number, now, before)
                # Twisted's calls are timers of the loop's; uvloop does not say what it has.
                timers = getattr(loop, "_scheduled", [])
                assert all(timer.cancelled() for timer in timers), timers
            gc.collect()
            assert not troubles, troubles

        asyncio.run(main())
        no_reactor()
        print("done")
    """

    def test_ten_times(self) -> None:
        """Started and stopped ten times: no thread, file, task or reactor is left."""
        self.assertEqual(self.succeed(self.LIFE), "done\n")

    def test_ten_times_secure(self) -> None:
        """With TLS too."""
        self.secure()
        self.assertEqual(self.succeed(self.LIFE), "done\n")

    def test_uvloop(self) -> None:
        """On uvloop too."""
        text = self.LIFE.replace("asyncio.run(main())", "uvloop.run(main())")
        self.assertEqual(self.succeed("import uvloop\n" + textwrap.dedent(text)), "done\n")

    def test_uvloop_secure(self) -> None:
        """There with TLS, too."""
        self.secure()
        self.test_uvloop()

    def test_coroutines(self) -> None:
        """Methods that are coroutines are tasks of the loop; one that hangs holds nothing up."""
        self.assertEqual(
            self.succeed(
                """
                from backplane.client import AsyncClient

                class App(RecordingApplication):
                    async def health_check(self):
                        await asyncio.sleep(3600)

                    async def pause(self):
                        await asyncio.sleep(0)
                        super().pause()

                async def main():
                    async with aio.running(config, App()) as management:
                        await management.when_ready()
                        async with AsyncClient(config["brokers"], insecure=True) as client:
                            nodes = [config["identity"]]
                            hanging = asyncio.ensure_future(
                                client.request("app", "health", nodes=nodes)
                            )
                            for action in ("ping", "pause", "info"):
                                outcome = await client.request("app", action, nodes=nodes)
                                (answer,) = outcome.answers
                                print(action, answer.reply.ok, answer.seconds < 5)
                            print(answer.reply.data["paused"], answer.reply.data["health_state"])
                            hanging.cancel()

                asyncio.run(main())
                no_reactor()
                """
            ),
            "ping True True\npause True True\ninfo True True\nTrue unknown\n",
        )

    def test_where(self) -> None:
        """A plain health check is called in a thread, and what it returns awaited on the loop;
        other plain methods, and checks of parts that are coroutines, are on the loop."""
        self.assertEqual(
            self.succeed(
                """
                from backplane.client import AsyncClient
                from backplane.parts import Application

                def here():
                    return "loop" if threading.current_thread() is thread else "thread"

                class App(RecordingApplication):
                    def health_check(self):
                        async def check():
                            return [called, here(), asyncio.get_running_loop() is loop], True
                        called = here()
                        return check()

                    def pause(self):
                        print("pause", here())

                app = Application()

                @app.health.check("coroutine")
                async def coroutine():
                    return here()

                @app.health.check("plain")
                def plain():
                    return here()

                async def main():
                    global loop, thread
                    loop, thread = asyncio.get_running_loop(), threading.current_thread()
                    other = {**config, "name": "other"}
                    async with (
                        aio.running(config, App()) as one,
                        aio.running(other, app) as two,
                        AsyncClient(config["brokers"], insecure=True) as client,
                    ):
                        await one.when_ready()
                        await two.when_ready()
                        for asked in ("app health", "app pause", "other health"):
                            name, action = asked.split()
                            (answer,) = (await client.request(name, action, expect=1)).answers
                            result = answer.reply.data.get("result")
                            if name == "other":
                                print({each: found["detail"] for each, found in result.items()})
                            elif action == "health":
                                print(result)

                asyncio.run(main())
                """
            ),
            "['thread', 'loop', True]\npause loop\n{'coroutine': 'loop', 'plain': 'thread'}\n",
        )

    def test_lifespan(self) -> None:
        """As an ASGI application's lifespan."""
        self.succeed(
            """
            from types import SimpleNamespace

            app = SimpleNamespace(state=SimpleNamespace())

            async def main():
                async with aio.lifespan(config, RecordingApplication())(app):
                    await app.state.management.when_ready()
                assert not app.state.management.state.ready

            asyncio.run(main())
            """
        )

    def test_misuse(self) -> None:
        """From another loop, after the stop, twice."""
        self.assertEqual(
            self.succeed(
                """
                def why(error):
                    print(type(error).__name__, error)

                async def elsewhere(management):
                    try:
                        await management.when_ready()
                    except StateError as error:
                        why(error)

                async def main():
                    management = await aio.start(config)
                    try:
                        await management.start()
                    except StateError as error:
                        why(error)
                    await asyncio.to_thread(asyncio.run, elsewhere(management))
                    await management.stop()
                    await management.stop()
                    try:
                        await management.publish(DataItem("x"))
                    except StateError as error:
                        why(error)

                asyncio.run(main())
                """
            ),
            "StateError the management was started already\n"
            "StateError the management belongs to another event loop\n"
            "StateError the management was stopped; start another one\n",
        )

    def test_cancelled(self) -> None:
        """A program that is cancelled within ``running`` stops it all the same."""
        self.succeed(
            """
            async def main():
                ready = asyncio.Event()
                task = asyncio.ensure_future(work(ready))
                await ready.wait()
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    pass
                assert len(asyncio.all_tasks()) == 1

            async def work(ready):
                async with aio.running(config, RecordingApplication()) as management:
                    await management.when_ready()
                    ready.set()
                    await asyncio.sleep(3600)

            asyncio.run(main())
            """
        )
