"""``start_in_thread``."""

from __future__ import annotations

import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from backplane.errors import ConfigError, StateError
from backplane.interfaces import DataItem
from backplane.node.presence import Phase
from backplane.testing import NatsServer, RecordingApplication
from backplane.threaded import start_in_thread
from tests.embedding.process import ProgramCase


class ThreadTests(SynchronousTestCase):
    """In this process."""

    def setUp(self) -> None:
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.wait_ready()
        self.config = {
            "name": "app",
            "identity": "host1.example.net",
            "brokers": [f"127.0.0.1:{self.server.port}"],
            "auth": {"insecure": True},
            "loglevel": "critical",
        }

    def start(self, *provided: Any, **options: Any) -> Any:
        management = start_in_thread(self.config, *provided, **options)
        self.addCleanup(management.stop)
        return management

    def test_life(self) -> None:
        """Started, ready, stopped; what happens is told; twice does nothing."""
        management = self.start(RecordingApplication())
        phases: list[Phase] = []
        management.on_change(lambda state: phases.append(state.phase))
        management.when_ready(30)
        self.assertTrue(management.state.ready)
        self.assertRaises(StateError, management.start)
        self.assertTrue(management.stop())
        self.assertTrue(management.stop())
        self.assertIs(management.state.phase, Phase.STOPPED)
        self.assertEqual(phases[-2:], [Phase.STOPPING, Phase.STOPPED])
        self.assertRaises(StateError, management.when_ready)
        self.assertRaises(StateError, management.publish, DataItem("x"))

    def test_mistakes(self) -> None:
        """They are raised where it is started, and leave no thread."""
        before = threading.active_count()
        self.assertRaises(ConfigError, start_in_thread, {"name": "App"})
        self.assertRaises(TypeError, start_in_thread, self.config, object())
        self.assertRaises(ValueError, start_in_thread, self.config, after_fork="ignore")
        audit = {"logfile": "/nonexistent/audit.log"}
        self.assertRaises(ConfigError, start_in_thread, {**self.config, "audit": audit})
        self.start()
        # Two of one identity in one process.
        self.assertRaises(StateError, start_in_thread, self.config)
        self.assertEqual(threading.active_count(), before + 1)

    def test_no_broker(self) -> None:
        """Nothing waits for a broker but what says so, and that not longer than it may."""
        self.server.stop()
        management = self.start()
        late = self.assertRaises(TimeoutError, management.when_ready, 0.05)
        self.assertIn("not ready within 0.05 s, but connecting", str(late))
        self.assertRaises(TimeoutError, management.publish, DataItem("x"), 0.05)
        management.put(DataItem("y"))
        self.assertFalse(management.state.ready)
        self.assertTrue(management.stop())

    def test_from_its_thread(self) -> None:
        """What would wait for itself says so."""
        management = self.start()
        errors: list[Exception] = []
        seen = threading.Event()

        def listen(state: Any) -> None:
            for call in (management.stop, management.when_ready):
                try:
                    call()
                except StateError as error:
                    errors.append(error)
            seen.set()

        management.on_change(listen)
        self.assertTrue(seen.wait(30))
        self.assertGreaterEqual(len(errors), 2)
        management.when_ready(30)

    def test_published(self) -> None:
        """Many threads publish; every item arrives, those of one thread in order."""
        management = self.start()
        management.when_ready(30)

        def work(name: int) -> None:
            for number in range(200):
                management.put(DataItem(f"{name} {number}", destination="acme.iot"))
            management.publish(DataItem(f"{name} last", destination="acme.iot"))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        statistics = management._management.data_outbox.statistics
        self.assertEqual((statistics.confirmed, statistics.lost), (8 * 201, 0))

    def test_blocked(self) -> None:
        """A method that blocks holds nothing else up; the stop does not wait for it."""
        released = threading.Event()
        self.addCleanup(released.set)

        class Slow(RecordingApplication):
            def health_check(self) -> Any:
                released.wait(60)
                return super().health_check()

        management = self.start(Slow())
        management.when_ready(30)
        began = threading.active_count()
        done = management._background.call(
            lambda: (
                management._management._node._calls["health"]
                .read("health_check", deadline=0.1)
                .addErrback(lambda failure: str(failure.value))
            )
        )
        self.assertIn("has not returned", done)
        self.assertEqual(threading.active_count(), began + 1)
        begin = time.monotonic()
        self.assertTrue(management.stop())
        self.assertLess(time.monotonic() - begin, 30)


class ProgramTests(ProgramCase):
    """In programs of their own."""

    LIFE = """
        class App(RecordingApplication):
            async def health_check(self):
                await asyncio.sleep(0)
                return {"by": threading.current_thread().name}, True

        def life(number):
            management = start_in_thread(config, App())
            management.when_ready(30)
            management.publish(DataItem("x"), 30)
            assert management.stop(), number
            nothing_left(management)
            assert (open_files(), threading.active_count()) == before, number

        before = open_files(), threading.active_count()
        for number in range(10):
            life(number)
        no_reactor()
        print("done")
    """

    def test_ten_times(self) -> None:
        """Started and stopped ten times: no thread, no file and no reactor is left."""
        self.config["loglevel"] = "critical"
        self.assertEqual(self.succeed(self.LIFE), "done\n")

    def test_ten_times_secure(self) -> None:
        """With TLS too."""
        self.config["loglevel"] = "critical"
        self.secure()
        self.assertEqual(self.succeed(self.LIFE), "done\n")

    def test_two(self) -> None:
        """Several at once do not know of each other."""
        self.config["loglevel"] = "critical"
        self.succeed(
            """
            managements = [
                start_in_thread({**config, "name": name}, RecordingApplication())
                for name in ("one", "two", "three")
            ]
            for management in managements:
                management.when_ready(30)
            assert managements[0].stop()
            managements[1].publish(DataItem("x"), 30)
            no_reactor()
            """
        )

    def test_exit(self) -> None:
        """A program that just ends says goodbye, whatever it is doing."""
        done = self.run_program(
            """
            logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
            config["loglevel"] = "info"
            management = start_in_thread(config, RecordingApplication())
            management.when_ready(30)
            management.put(DataItem("x"))
            print("ending")
            """
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("backplane.presence ready: host1.example.net", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_exit_without_broker(self) -> None:
        """Where there is no broker the end does not wait for one."""
        self.server.stop()
        self.config["loglevel"] = "critical"
        self.succeed(
            """
            management = start_in_thread(config, RecordingApplication())
            management.put(DataItem("x"))
            """
        )

    def test_log(self) -> None:
        """The log goes to ``logging``, with names and levels, and can be turned off there."""
        done = self.run_program(
            """
            logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
            management = start_in_thread(config)
            management.stop()
            """
        )
        self.assertIn("WARNING backplane.service the insecure mode", done.stderr)
