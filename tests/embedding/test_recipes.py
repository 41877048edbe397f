"""The recipes of the manual for workers that others fork: Celery's and uWSGI's, each managed as an
instance of its own over a real broker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.embedding.hosts import EXAMPLES, PATIENCE, HostCase, Subscriber
from tests.embedding.test_hosts import PAGE, SUBJECT, Served, WebCase
from tests.examples.pages import ROOT, read
from tests.integration.fleet import wait

EXECUTE = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
"""A Python program that becomes another program, in the same process."""


class Listener(Subscriber):
    """Hears what services publish, and publishes itself, on the same subject."""

    def mark(self, text: str) -> None:
        """Publish something that comes after all that the broker has had before."""
        self._send(f"PUB {SUBJECT} {len(text.encode())}\r\n{text}")


class RecipeCase(HostCase):
    """What the manual shows, written into a folder of its own."""

    def recipe(self, name: str) -> Path:
        """Write a program of the manual; return its path."""
        (text,) = [block.text for block in read(PAGE).blocks if block.name == name]
        return self.fleet.write(name, text)

    def paths(self) -> dict[str, str]:
        """Return the environment in which the recipes, and the examples, can be imported."""
        folders = (ROOT, EXAMPLES, self.fleet.folder)
        return {"PYTHONPATH": os.pathsep.join(str(folder) for folder in folders)}

    def launch(self, **environ: str) -> None:
        super().launch(**{**self.paths(), **environ})


class UwsgiTests(RecipeCase, Served, WebCase):
    """uWSGI loads the application, then forks two workers."""

    packages: tuple[str, ...] = ("flask", "uwsgidecorators")
    instances = 2

    def command(self) -> list[str]:
        return [
            *("-c", EXECUTE, str(Path(sys.executable).with_name("uwsgi"))),
            *("--http-socket", f"127.0.0.1:{self.port}", "--master", "--processes", "2"),
            "--enable-threads",
            *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
            *("--wsgi-file", str(self.recipe("uwsgi_app.py")), "--callable", "app"),
        ]


class UwsgiLazyTests(UwsgiTests):
    """Each worker loads the application, after the fork."""

    def command(self) -> list[str]:
        return [*super().command(), "--lazy-apps"]


class CeleryTests(RecipeCase):
    """Celery's prefork pool with two processes; its queue is a folder, which needs no server."""

    packages: tuple[str, ...] = ("celery",)
    instances = 2
    web = False

    def setUp(self) -> None:
        super().setUp()
        self.queue = self.fleet.folder / "queue"
        self.queue.mkdir()
        self.recipe("celery_app.py")
        # The recipe as it is, what a queue of files has to be told, and who begins with a task.
        self.fleet.write(
            "celery_files.py",
            "import os, sys\n"
            "from celery.signals import task_prerun\n"
            "from celery_app import app, order\n"
            "@task_prerun.connect\n"
            "def begin(**_):\n"
            "    print(f'a task begins in {os.getpid()}')\n"
            f"folder = {str(self.queue)!r}\n"
            "app.conf.broker_transport_options = {\n"
            "    'data_folder_in': folder, 'data_folder_out': folder, 'control_folder': folder\n"
            "}\n"
            "if __name__ == '__main__':\n"
            "    for number in sys.argv[1:]:\n"
            "        order.delay(int(number))\n",
        )

    def paths(self) -> dict[str, str]:
        return {**super().paths(), "QUEUE": "filesystem://"}

    def command(self) -> list[str]:
        return ["-m", "celery", "-A", "celery_files", "worker", "--concurrency", "2"]

    def order(self, *numbers: int) -> None:
        """Send tasks to the workers."""
        subprocess.run(
            [sys.executable, str(self.fleet.folder / "celery_files.py"), *map(str, numbers)],
            env={**os.environ, **self.paths(), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self.fleet.folder,
            timeout=PATIENCE,
            check=True,
        )

    def begun(self) -> set[str]:
        """Return the processes that have begun a task."""
        return set(re.findall(r"a task begins in (\d+)", self.host.text()))

    def facts(self, name: str) -> set[Any]:
        """Return what ``info`` says of each instance."""
        return {each[name] for each in self.data("info")}

    def test_life(self) -> None:
        """Tasks that paused workers have taken wait; both workers go on, and stop in order."""
        self.start()
        processes = {name.rpartition("-")[2] for name in self.names}
        self.assertEqual(len(processes), 2)
        self.assertNotIn(str(self.host.process.pid), processes)
        ran = self.fleet.cli("shop", "pause", "--expect", "2")
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertEqual(self.facts("paused"), {True})
        subscriber = Listener(self.fleet.server.port, SUBJECT)
        with subscriber:
            self.order(1, 2)
            wait(lambda: self.begun() == processes, "a task in each process\n", self.host.text)
            self.data("ping")
            subscriber.mark("nothing was sold before this")
            self.assertEqual(subscriber.next(), b"nothing was sold before this")
            ran = self.fleet.cli("shop", "resume", "--expect", "2")
            self.assertEqual(ran.code, 0, ran.out + ran.err)
            sold = dict(subscriber.item() for _ in range(2))
        self.assertEqual(set(sold), self.names)
        self.assertEqual(set(sold.values()), {"order 1", "order 2"})
        self.stop()

    def test_one_of_two(self) -> None:
        """Operators pause one worker; the other does all the work."""
        self.start()
        paused, works = sorted(self.names)
        ran = self.fleet.cli("shop", "pause", "-I", paused)
        self.assertEqual(ran.code, 0, ran.out + ran.err)
        self.assertEqual(self.facts("paused"), {True, False})
        with Subscriber(self.fleet.server.port, SUBJECT) as subscriber:
            self.order(1, 2)
            self.assertEqual(subscriber.item()[0], works)
            ran = self.fleet.cli("shop", "resume", "-I", paused)
            self.assertEqual(ran.code, 0, ran.out + ran.err)
            self.assertIn(subscriber.item()[0], self.names)
        self.stop()
