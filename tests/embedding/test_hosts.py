"""Every kind of host that ``examples/embedding`` has: managed from outside, over a real broker,
and stopped as such hosts are."""

from __future__ import annotations

import json
import signal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.embedding.hosts import EXAMPLES, FAREWELLS, FOREVER, HostCase, Subscriber, post
from tests.examples.pages import ROOT, read
from tests.integration.fleet import wait

PAGE = ROOT / "docs" / "embedding.rst"
SUBJECT = "shop_backplane.broadcast.agent.registration"


class Life:
    """What holds for each host; mixed into its case."""

    def test_life(self: Any) -> None:
        """Info, health, log level, data, pause and resume, an orderly stop."""
        self.start()
        for info in self.data("info"):
            self.assertEqual((info["version"], info["paused"]), ("1.0", False))
            self.assertEqual((info["healthy"], info["health_state"]), (True, "ok"))
            self.assertEqual(info["loglevel"], "info")
        for health in self.data("health"):
            self.assertEqual(health["healthy"], True)
            self.assertEqual(list(health["result"]), ["database"])
        self.log_level()
        self.published()
        self.paused()
        self.stop()

    def log_level(self: Any) -> None:
        """Lines of debug level come when they are asked for, and not before."""
        self.assertNotIn(self.debug_line, self.host.text())
        self.assertEqual({each["level"] for each in self.data("debuglvl")}, {"debug"})
        self.assertEqual({each["loglevel"] for each in self.data("info")}, {"debug"})
        self.work()
        self.host.wait_for(self.debug_line)
        self.assertEqual({each["level"] for each in self.data("infolvl")}, {"info"})

    def published(self: Any) -> None:
        """What each instance publishes as it works arrives at a subscriber."""
        with Subscriber(self.fleet.server.port, SUBJECT) as subscriber:
            heard: set[str] = set()
            while heard != self.names:
                self.work()
                sender, text = subscriber.item()
                self.assertRegex(text, r"^order \d+$")
                heard.add(sender)

    def paused(self: Any) -> None:
        """The worker's code obeys; the operator is told what is."""
        count = str(self.instances)
        ran = self.fleet.cli("shop", "pause", "--expect", count)
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertEqual({each["paused"] for each in self.data("info")}, {True})
        self.idle()
        ran = self.fleet.cli("shop", "resume", "--expect", count)
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.busy()

    def test_hung(self: Any) -> None:
        """While a health check does not return, the rest is answered, and the host stops."""
        self.start(QUERY_SECONDS=str(FOREVER))
        for info in self.data("info"):
            self.assertFalse(info["healthy"])
            self.assertIn(info["health_state"], ("unknown", "failed"))
        self.assertEqual({each["paused"] for each in self.data("pause")}, {True})
        self.idle()
        self.data("ping")
        self.assertEqual({each["paused"] for each in self.data("resume")}, {False})
        self.busy()
        self.stop()


class Served(Life):
    """What holds for each host that serves; mixed into its case."""

    def test_no_broker(self: Any) -> None:
        """It starts, works and stops without a broker; when there is one, it is managed."""
        self.fleet.server.stop()
        self.launch()
        wait(lambda: post(self.port) == 200, "an open shop\n", self.host.text)
        self.fleet.server.start()
        self.fleet.server.wait_ready()
        wait(self.up, f"{self.instances} instances\n", self.host.text)
        self.fleet.server.stop()
        self.assertEqual(post(self.port), 200)
        self.host.process.terminate()
        self.ended_well()


class WebCase(HostCase):
    """Takes orders over HTTP."""

    def work(self) -> None:
        """Let it work."""
        self.assertEqual(post(self.port), 200)

    def idle(self) -> None:
        """It takes no orders, whichever process is asked."""
        before = self.orders()
        self.assertEqual([post(self.port) for _ in range(6)], [503] * 6)
        self.assertEqual(self.orders(), before)

    def busy(self) -> None:
        """It takes orders."""
        self.assertEqual([post(self.port) for _ in range(6)], [200] * 6)


class LoopCase(HostCase):
    """Works by itself."""

    web = False

    def work(self) -> None:
        """Nothing needs to be done for that."""

    def idle(self) -> None:
        """It has stopped working, once what it was at is done."""
        seen = [self.orders()]

        def still() -> bool:
            seen.append(self.orders())
            return len(seen) > 5 and seen[-1] == seen[-5]

        wait(still, "a pause", lambda: str(seen))

    def busy(self) -> None:
        """All instances work."""
        before = self.orders()

        def grown() -> bool:
            return all(now > then for now, then in zip(self.orders(), before, strict=True))

        wait(grown, "work", lambda: str((before, self.orders())))


class FastapiTests(Served, WebCase):
    """FastAPI under uvicorn, which ends by the signal that stopped it."""

    packages: tuple[str, ...] = ("fastapi", "uvicorn")
    stop_code = -signal.SIGTERM

    def command(self) -> list[str]:
        return ["-m", "uvicorn", "fastapi_app:app", "--port", str(self.port)]


class FastapiUvloopTests(FastapiTests):
    """On uvloop."""

    packages: tuple[str, ...] = ("fastapi", "uvicorn", "uvloop")

    def command(self) -> list[str]:
        return [*super().command(), "--loop", "uvloop"]


class AiohttpTests(Served, WebCase):
    """aiohttp."""

    packages: tuple[str, ...] = ("aiohttp",)

    def command(self) -> list[str]:
        return ["-m", "aiohttp.web", "-P", str(self.port), "aiohttp_app:make"]


class FlaskTests(Served, WebCase):
    """Flask under gunicorn with two workers, each of which loads the application."""

    packages: tuple[str, ...] = ("flask", "gunicorn")
    instances = 2

    def command(self) -> list[str]:
        bind = f"127.0.0.1:{self.port}"
        hooks = ["-c", "gunicorn_hooks.py"]
        return ["-m", "gunicorn", *hooks, "-w", "2", "-b", bind, "flask_app:app"]


class FlaskPreloadTests(FlaskTests):
    """The application is loaded before the fork."""

    def command(self) -> list[str]:
        return [*super().command(), "--preload"]


class DjangoTests(Served, WebCase):
    """Django's development server as a single process."""

    packages: tuple[str, ...] = ("django",)

    def command(self) -> list[str]:
        return ["django_app.py", "runserver", "--noreload", f"127.0.0.1:{self.port}"]


class ScriptTests(Life, LoopCase):
    """A script with a loop."""

    def command(self) -> list[str]:
        return ["script.py"]

    def test_shutdown(self) -> None:
        """Operators end it; that is no failure."""
        self.start()
        ran = []
        self.leave(lambda: ran.append(self.fleet.cli("shop", "shutdown", "--expect", "1")))
        self.assertEqual(ran[0].code, 0, ran[0].out + ran[0].err)


class PreforkTests(Life, LoopCase):
    """Two forked workers."""

    instances = 2

    def command(self) -> list[str]:
        return ["prefork.py"]


class PoolTests(HostCase):
    """The pool of the manual."""

    instances = 2
    web = False

    def command(self) -> list[str]:
        (text,) = [block.text for block in read(PAGE).blocks if block.name == "pool.py"]
        return [str(self.fleet.write("pool.py", text))]

    def test_pool(self) -> None:
        """All work is done, both workers publish, and say goodbye at the end."""
        with (
            Subscriber(self.fleet.server.port, SUBJECT) as data,
            Subscriber(self.fleet.server.port, FAREWELLS) as farewells,
        ):
            self.launch()
            heard = [data.item() for _ in range(50)]
            gone = {json.loads(farewells.next())["data"]["identity"] for _ in range(2)}
        self.assertEqual({text for _, text in heard}, {f"order {number}" for number in range(50)})
        self.assertEqual({sender for sender, _ in heard}, gone)
        self.ended_well()
        self.assertEqual(self.host.text().count("sold "), 50)


class TwistedTests(Served, WebCase):
    """twisted.web under twistd, which ends by the signal that stopped it."""

    stop_code = -signal.SIGTERM

    def command(self) -> list[str]:
        program = "from twisted.scripts.twistd import run; run()"
        return ["-c", program, "-n", "--pidfile=", "-y", "twisted_web.py"]


class ShortTests(SynchronousTestCase):
    """The examples are to be read."""

    def test_short(self) -> None:
        """Each has less than 40 lines."""
        for path in EXAMPLES.glob("*.py"):
            self.assertLess(path.read_bytes().count(b"\n"), 40, path.name)
