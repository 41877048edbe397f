"""A health check that does not return, in each kind of host: the rest is answered meanwhile.

No check here ends by itself within an hour. What is answered is answered while it is seen to
be under way: it has begun, and has not returned until it is let go.
"""

from __future__ import annotations

import signal
import textwrap
import threading
from pathlib import Path
from typing import Any

from tests.embedding.hosts import ROOT, HostCase
from tests.integration.fleet import wait

CHECKS = """
    import asyncio, os, pathlib, time

    from backplane import blocking
    from backplane.testing import RecordingApplication

    config = {"name": "shop", "brokers": [os.environ["BROKER"]], "auth": {"insecure": True}}
    folder = pathlib.Path(os.environ["FOLDER"])
    begun, freed, returned = (folder / name for name in ("begun", "freed", "returned"))
    HOUR = 3600

    def hang():
        begun.touch()
        end = time.monotonic() + HOUR
        while not freed.exists() and time.monotonic() < end:
            time.sleep(0.02)  # here it hangs
        returned.touch()
        return "freed", True

    class Plain(RecordingApplication):
        def health_check(self):
            return hang()

    class Marked(RecordingApplication):
        @blocking
        def health_check(self):
            return hang()

    class Deferring(RecordingApplication):
        def health_check(self):
            from twisted.internet.threads import deferToThread
            return deferToThread(hang)

    class Coroutine(RecordingApplication):
        async def health_check(self):
            begun.touch()
            end = time.monotonic() + HOUR
            while not freed.exists() and time.monotonic() < end:
                await asyncio.sleep(0.02)
            returned.touch()
            return "freed", True
"""


class Blocked(HostCase):
    """A host whose health check hangs; without tests.

    :cvar program: the host, which imports ``Check`` from ``checks``.
    :cvar check: the name of its class.
    """

    web = False
    program = ""
    check = "Plain"

    def setUp(self) -> None:
        super().setUp()
        self.marks = self.fleet.folder / "marks"
        self.marks.mkdir()
        self.addCleanup(self.free)
        checks = textwrap.dedent(CHECKS) + f"\nCheck = {self.check}\n"
        self.fleet.write("checks.py", checks)
        self.fleet.write("host.py", textwrap.dedent(self.program))

    def launch(self, **environ: str) -> None:
        """Start it where it finds its files."""
        path = f"{self.fleet.folder}:{ROOT}"
        super().launch(PYTHONPATH=path, FOLDER=str(self.marks), **environ)

    def command(self) -> list[str]:
        """Return its command."""
        return [str(self.fleet.folder / "host.py")]

    def mark(self, name: str) -> Path:
        """Return the file by which the check says how far it is, or is let go."""
        return self.marks / name

    def free(self) -> None:
        """Let the check return."""
        if self.marks.exists():
            self.mark("freed").touch()


class Answered(Blocked):
    """Everything else is answered; without tests."""

    def check_answered(self) -> None:
        """Ping, info, pause, resume; what ``info`` says of the health meanwhile."""
        self.start()
        self.assertFalse(self.mark("begun").exists())
        for action, paused in (("info", False), ("pause", True), ("info", True), ("resume", False)):
            (answer,) = self.data(action)
            self.assertEqual(answer["paused"], paused)
            self.data("ping")
            if action == "info":
                self.assertEqual((answer["healthy"], answer["health_state"]), (False, "unknown"))
            self.assertTrue(self.mark("begun").exists())
            self.assertFalse(self.mark("returned").exists())
        self.free()
        wait(lambda: self.data("info")[0]["healthy"], "health", self.host.text)
        self.assertTrue(self.mark("returned").exists())
        self.stop()


class ThreadTests(Answered):
    """Beside a program that does something else."""

    program = """
        import signal, sys
        from backplane import start_in_thread
        from checks import Check, config

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with start_in_thread(config, Check()):
            while True:
                signal.pause()
    """

    def test_answered(self) -> None:
        """A plain method that blocks."""
        self.check_answered()


class ThreadCoroutineTests(ThreadTests):
    """A coroutine there."""

    check = "Coroutine"


class LoopTests(Answered):
    """On asyncio's own loop: a plain method that blocks."""

    program = """
        import asyncio, signal
        from backplane import aio
        from checks import Check, config

        async def main():
            ended = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
            async with aio.running(config, Check()):
                await ended.wait()

        if __name__ == "__main__":
            asyncio.run(main())
    """

    def test_answered(self) -> None:
        """It does not block the loop."""
        self.check_answered()


class LoopCoroutineTests(LoopTests):
    """A coroutine there."""

    check = "Coroutine"


class LoopMarkedTests(LoopTests):
    """A method that is marked there."""

    check = "Marked"


class UvloopTests(LoopTests):
    """On uvloop: a plain method that blocks."""

    packages = ("uvloop",)

    def command(self) -> list[str]:
        return ["-c", "import host, uvloop; uvloop.run(host.main())"]


class UvloopCoroutineTests(UvloopTests):
    """A coroutine there."""

    check = "Coroutine"


class FastapiTests(Answered):
    """FastAPI under uvicorn: a plain method that blocks."""

    packages = ("fastapi", "uvicorn")
    stop_code = -signal.SIGTERM
    program = """
        from fastapi import FastAPI
        from backplane import aio
        from checks import Check, config

        app = FastAPI(lifespan=aio.lifespan(config, Check()))
    """

    def command(self) -> list[str]:
        return ["-m", "uvicorn", "host:app", "--port", str(self.port)]

    def test_answered(self) -> None:
        """It does not block the server's loop."""
        self.check_answered()


class FastapiCoroutineTests(FastapiTests):
    """A coroutine there."""

    check = "Coroutine"


class GunicornTests(Answered):
    """A worker of gunicorn."""

    packages = ("gunicorn",)
    program = """
        from backplane import start_in_thread
        import checks  # "config" in here would be a setting of gunicorn's

        started = []

        def app(environ, start_response):
            start_response("200 OK", [])
            return []

        def post_worker_init(worker):
            started.append(start_in_thread(checks.config, checks.Check()))

        def worker_exit(server, worker):
            for management in started:
                management.stop()
    """

    def command(self) -> list[str]:
        bind = f"127.0.0.1:{self.port}"
        return ["-m", "gunicorn", "-c", "python:host", "-b", bind, "host:app"]

    def test_answered(self) -> None:
        """It does not hold up what manages the worker."""
        self.check_answered()


TWISTED = """
    from twisted.application import service
    from backplane import Management
    from backplane.stalls import StallService
    from checks import Check, config

    management = Management(config)
    management.provide(Check())
    application = service.Application("shop")
    management.setServiceParent(application)
    StallService().setServiceParent(application)
"""


class Twistd(Blocked):
    """Under twistd; without tests."""

    program = TWISTED
    stop_code = -signal.SIGTERM
    options: tuple[str, ...] = ("-y",)
    file = "host.py"

    def command(self) -> list[str]:
        program = "from twisted.scripts.twistd import run; run()"
        path = str(self.fleet.folder / self.file)
        return ["-c", program, "-n", "--pidfile=", *self.options, path]


class TwistedMarkedTests(Twistd, Answered):
    """A Twisted program: a method that is marked."""

    check = "Marked"

    def test_answered(self) -> None:
        """It is called in a thread; the reactor is not said to be stuck."""
        self.check_answered()
        self.assertNotIn("stuck", self.host.text())


class TwistedDeferringTests(TwistedMarkedTests):
    """A method that returns what ``deferToThread`` does."""

    check = "Deferring"


class TwistedPlainTests(Twistd):
    """A plain method on the reactor holds everything up: the log names its line."""

    def test_named(self) -> None:
        """It says where it is stuck; when that is over all is answered, late, and so it says."""
        self.start()
        late: list[dict[str, Any]] = []
        asking = threading.Thread(target=lambda: late.extend(self.data("info")))
        asking.start()
        self.host.wait_for("the reactor is stuck, nothing is answered: ")
        self.assertRegex(
            self.host.text(),
            r"nothing is answered: \S*checks\.py:\d+ in hang: time\.sleep\(.*\)  # here it hangs",
        )
        self.assertFalse(self.mark("returned").exists())
        self.free()
        asking.join()
        self.assertEqual([info["health_state"] for info in late], ["ok"])
        self.host.wait_for("the reactor turns again after")
        self.data("ping")
        self.stop()


class TwistdBackplaneTests(TwistedPlainTests):
    """``twistd backplane`` watches by itself."""

    options = ("backplane", "-c")
    file = "app.yaml"

    def setUp(self) -> None:
        super().setUp()
        broker = f"127.0.0.1:{self.fleet.server.port}"
        self.fleet.write(
            "app.yaml",
            f"app: checks:make\nmanagement:\n  name: shop\n  brokers: ['{broker}']\n"
            "  auth: {insecure: true}\n",
        )
        with (self.fleet.folder / "checks.py").open("a") as file:
            file.write("\ndef make(document, management):\n    return Check()\n")
