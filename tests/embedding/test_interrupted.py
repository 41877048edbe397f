"""Managements in threads that are stopped at odd moments, by several at once, or not at all."""

from __future__ import annotations

from tests.embedding.process import QuietCase


class ThreadTests(QuietCase):
    """Beside a program."""

    def test_stopped_by_many(self) -> None:
        """All who stop it wait until it is stopped; all who wait for something else hear of it."""
        self.succeed(
            """
            def stop():
                assert management.stop()
                stopped.append(management.state.phase.name)

            def publish():
                try:
                    while True:
                        management.publish(DataItem("x"))
                except StateError:
                    refused.append(True)

            before = open_files(), threading.active_count()
            for number in range(5):
                stopped, refused = [], []
                management = start_in_thread(config, RecordingApplication())
                management.when_ready(30)
                publishing = [threading.Thread(target=publish) for _ in range(4)]
                stopping = [threading.Thread(target=stop) for _ in range(4)]
                for thread in publishing + stopping:
                    thread.start()
                for thread in publishing + stopping:
                    thread.join(30)
                assert stopped == ["STOPPED"] * 4, stopped
                assert len(refused) == 4, refused
                nothing_left(management)
                assert (open_files(), threading.active_count()) == before
            """
        )

    def test_stopped_later(self) -> None:
        """Threads that come after its own are not taken for it, though one gets its ident."""
        self.succeed(
            """
            def stop():
                together.wait(30)
                stopped.append(management.stop())

            for number in range(3):
                management = start_in_thread(config, RecordingApplication())
                management.when_ready(30)
                assert management.stop()
                together, stopped = threading.Barrier(20), []
                threads = [threading.Thread(target=stop) for _ in range(20)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
                assert stopped == [True] * 20, stopped
            """
        )

    def test_stopped_while_starting(self) -> None:
        """Whoever starts it hears of it, or has one that is stopped; nothing is left."""
        self.succeed(
            """
            from backplane.threaded import ThreadedManagement

            before = open_files(), threading.active_count()
            for number in range(30):
                management = ThreadedManagement(config, RecordingApplication())
                stopping = threading.Thread(target=management.stop)

                def start():
                    try:
                        management.start()
                    except StateError:
                        pass

                starting = threading.Thread(target=start)
                order = [starting, stopping] if number % 2 else [stopping, starting]
                for thread in order:
                    thread.start()
                for thread in order:
                    thread.join(30)
                assert management.stop()
                assert (open_files(), threading.active_count()) == before, number
            """
        )

    def test_start_fails(self) -> None:
        """Where it cannot be made or started nothing is left."""
        self.succeed(
            """
            from backplane.errors import BackplaneError

            class Broken(RecordingApplication):
                pass

            before = open_files(), threading.active_count()
            other = start_in_thread(config)
            for given, provided in (
                ({"name": "App"}, ()),
                (config, (object(),)),
                (config, ()),  # of that name one is running
                ({**config, "identity": "b", "audit": {"logfile": "/nonexistent/log"}}, ()),
            ):
                for _ in range(3):
                    try:
                        start_in_thread(given, *provided)
                    except (BackplaneError, TypeError):
                        continue
                    raise AssertionError(given)
            assert other.stop()
            assert (open_files(), threading.active_count()) == before
            """
        )

    def test_interrupted(self) -> None:
        """Ctrl-C gets through to who waits; the management goes on, and can be stopped."""
        self.silent_broker()
        self.succeed(
            """
            import signal

            signal.signal(signal.SIGINT, signal.default_int_handler)
            management = start_in_thread(config, RecordingApplication())
            main = threading.main_thread().ident
            threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
            try:
                management.when_ready()
            except KeyboardInterrupt:
                print("interrupted")
            assert management.state.phase.name == "CONNECTING", management.state
            assert management.stop()
            """
        )

    def test_stopped_by_signal(self) -> None:
        """A handler may stop it, whatever its thread is doing with it."""
        self.succeed(
            """
            import signal

            stopped = []
            signal.signal(signal.SIGALRM, lambda *_: stopped.append(management.stop()))
            for number in range(10):
                stopped.clear()
                management = start_in_thread(config, RecordingApplication())
                signal.setitimer(signal.ITIMER_REAL, 0.01 * (number + 1))
                try:
                    while True:
                        management.publish(DataItem("x"))
                except StateError:
                    pass
                assert len(stopped) == 1 and management.stop(), stopped
                assert management.state.phase.name == "STOPPED", management.state
            """
        )

    def test_listener_raises(self) -> None:
        """One that raises is nobody else's trouble."""
        done = self.run_program(
            """
            logging.basicConfig(format="%(levelname)s %(message)s")
            management = start_in_thread({**config, "loglevel": "warn"}, RecordingApplication())
            seen = []

            def bad(state):
                raise RuntimeError("bad listener")

            management.on_change(bad)
            management.on_change(lambda state: seen.append(state.phase.name))
            management.when_ready(30)
            management.publish(DataItem("x"), 30)
            assert management.stop()
            assert seen[-1] == "STOPPED", seen
            """
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("CRITICAL a listener failed", done.stderr)
        self.assertIn("RuntimeError: bad listener", done.stderr)

    def test_blocked_listener(self) -> None:
        """One that blocks holds everything up; the stop says that it has not succeeded."""
        self.succeed(
            """
            held, release = threading.Event(), threading.Event()

            def listen(state):
                held.set()
                release.wait(60)

            management = start_in_thread(config, RecordingApplication())
            management.on_change(listen)
            assert held.wait(30)
            assert management.stop(0.05) is False
            release.set()
            assert management.stop() is True
            start_in_thread(config).stop()
            """
        )

    def test_broker_restarts(self) -> None:
        """Eight threads publish while the broker comes and goes: every item is confirmed."""
        self.succeed(
            """
            from backplane.testing import NatsServer

            server = NatsServer()
            server.start()
            server.wait_ready()
            config["brokers"] = [f"127.0.0.1:{server.port}"]
            config["outbox"] = {"max_items": 500}
            management = start_in_thread(config, RecordingApplication())
            management.when_ready(30)
            confirmed = []

            def work(name):
                for number in range(1000):
                    item = DataItem(f"{name} {number}", destination="acme.iot")
                    if number % 50:
                        management.put(item)
                    else:
                        management.publish(item)
                        confirmed.append((name, number))

            threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
            for thread in threads:
                thread.start()
            restarts = 0
            while any(thread.is_alive() for thread in threads) and restarts < 5:
                time.sleep(0.1)
                server.restart()
                server.wait_ready()
                restarts += 1
            for thread in threads:
                thread.join(60)
            assert restarts and len(confirmed) == 8 * 20, (restarts, len(confirmed))
            management.publish(DataItem("last"), 60)
            statistics = management._management.data_outbox.statistics
            assert (statistics.confirmed, statistics.lost) == (8001, 0), statistics
            assert management.stop()
            server.close()
            """
        )

    def test_exit(self) -> None:
        """A process ends although its broker says nothing and its own threads wait for it."""
        self.silent_broker()
        self.succeed(
            """
            class App(RecordingApplication):
                def fact_data(self):
                    time.sleep(3600)

            managements = [
                start_in_thread({**config, "name": name}, App()) for name in ("one", "two")
            ]

            def work():
                try:
                    managements[0].publish(DataItem("x"))
                except StateError:
                    pass

            for _ in range(4):
                threading.Thread(target=work, daemon=True).start()
            managements[1].put(DataItem("y"))
            """
        )

    def test_signals(self) -> None:
        """No signal handler is touched, nor what wakes up whom."""
        self.succeed(
            """
            import signal

            def handlers():
                return {number: signal.getsignal(number) for number in signal.valid_signals()}

            signal.signal(signal.SIGTERM, lambda *_: None)
            before = handlers()
            management = start_in_thread(config, RecordingApplication())
            management.when_ready(30)
            assert handlers() == before
            assert management.stop()
            assert handlers() == before
            assert signal.set_wakeup_fd(-1) == -1
            """
        )

    def test_reloaded(self) -> None:
        """A program that imports everything anew can start one anew."""
        self.succeed(
            """
            import importlib

            management = start_in_thread(config, RecordingApplication())
            management.when_ready(30)
            assert management.stop()
            for name in [name for name in sys.modules if name.partition(".")[0] == "backplane"]:
                del sys.modules[name]
            again = importlib.import_module("backplane")
            management = again.start_in_thread(config)
            management.when_ready(30)
            assert management.stop()
            """
        )

    def test_stopped_in_child(self) -> None:
        """A child that stops its copy as it is forked does nothing to the parent's."""
        done = self.run_program(
            """
            management = None
            # In Python's order before the hooks of the backplane.
            os.register_at_fork(after_in_child=lambda: management.stop())
            management = start_in_thread(config, RecordingApplication())
            management.when_ready(30)
            if os.fork() == 0:
                try:
                    management.stop()
                except ForkedError:
                    os._exit(7)
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
            management.publish(DataItem("x"), 30)
            assert management.stop()
            """
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ForkedError", done.stderr)  # which Python shows and passes over
