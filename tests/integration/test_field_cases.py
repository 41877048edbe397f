"""What people ran into with programs of this kind, tried with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from backplane import DataItem, Management
from backplane.choria import v1
from backplane.nats.client import Message, NatsClient
from backplane.testing.natsserver import NatsServer
from tests.integration.answering import FACTS, Answering
from tests.integration.fleet import ROOT, Fleet

MANY = 5000

APPLICATION = """
import signal, time
from zope.interface import implementer
from backplane import interfaces

@implementer(interfaces.IHealthCheckable, interfaces.IPausable)
class App:
    def __init__(self, config):
        self.good = config.get("good", True)
        self.busy = config.get("busy", 0)
    def health_check(self):
        time.sleep(self.busy)  # on the reactor, as people do
        return {"good": self.good}, self.good
    def pause(self): pass
    def resume(self): pass
    def flip(self): pass
    def paused(self): return False

def make(config, management):
    return App(config)
"""


class AbsenceTests(TestCase):
    """Busy, unhealthy and gone are three things."""

    def setUp(self) -> None:
        self.fleet = Fleet()
        self.addCleanup(self.fleet.close)

    def service(self, identity: str, **fields: Any) -> Any:
        self.fleet.write("app.py", APPLICATION)
        config = {
            "app": "app:make",
            **fields,
            "management": {
                "name": "app",
                "identity": identity,
                "loglevel": "info",
                "auth": {"insecure": True},
                "brokers": [f"127.0.0.1:{self.fleet.server.port}"],
            },
        }
        path = self.fleet.write(f"{identity}.json", json.dumps(config))
        service = self.fleet.twistd(["-n", "--pidfile=", "backplane", "-c", str(path)])
        service.wait_for("ready:")
        return service

    def test_three_things(self) -> None:
        """Late is counted, false is unhealthy, stopped is named: text, JSON and exit code."""
        self.service("busy", busy=2.0)
        self.service("sick", good=False)
        frozen = self.service("frozen")
        nodes = self.fleet.write("nodes", "busy\nsick\nfrozen\n")
        frozen.process.send_signal(signal.SIGSTOP)
        options = ("app", "health", "--nodes", str(nodes), "--timeout", "8")
        told = self.fleet.cli(*options, "--json")
        document = told.json()
        self.assertEqual(told.code, 4, told.out + told.err)
        healthy = {each["sender"]: each["data"]["healthy"] for each in document["replies"]}
        self.assertEqual(healthy, {"busy": True, "sick": False})
        text = self.fleet.cli(*options)
        self.assertEqual(text.code, 4)
        shown = text.out + text.err
        self.assertIn("No answer from: 1\n  frozen\n", shown)
        self.assertIn('  sick  Unhealthy\n        {"good":false}\n', shown)
        frozen.process.send_signal(signal.SIGCONT)

    def test_always_answered(self) -> None:
        """Two shells ping at the same time, again and again; each ping is answered by each."""
        self.fleet.demo("app", "one")
        self.fleet.demo("app", "two")
        code = (
            "import subprocess, sys\n"
            "bad = 0\n"
            "for _ in range(8):\n"
            "    done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
            "    bad += done.returncode != 0 or 'Managed 2 service(s)' not in done.stdout\n"
            "sys.exit(bad)\n"
        )
        command = [sys.executable, "-m", "backplane.cli.main", "--insecure", "--config"]
        command += [str(self.fleet.client_cfg), "app", "ping", "--expect", "2"]
        shells = [
            subprocess.Popen(
                [sys.executable, "-c", code, *command],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for _ in range(2)
        ]
        self.assertEqual([shell.wait(120) for shell in shells], [0, 0])


class ManyTests(TestCase):
    """Thousands answer in the same moment."""

    timeout = 240

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        self.server = NatsServer()
        self.addCleanup(self.server.close)
        self.server.start()
        yield self.server.when_ready(reactor)
        self.client = NatsClient([f"127.0.0.1:{self.server.port}"], reactor, buffer_size=1 << 27)
        self.client.startService()
        self.addCleanup(self.client.stopService)
        data = {"facts": FACTS, "version": "1", "paused": False, "healthy": True}
        Answering(self.client, MANY, data)
        yield self.client.when_connected()
        yield self.client.flush()
        self.config = self.mktemp()
        with open(self.config, "w") as stream:
            stream.write(f"plugin.choria.middleware_hosts = 127.0.0.1:{self.server.port}\n")

    @inlineCallbacks
    def test_thousands(self) -> Generator[Any, Any, None]:
        """Five thousand of five thousand, none twice; and the next command works."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = ["-m", "backplane.cli.main", "--insecure", "--config", self.config]
        for _ in range(2):
            out, err, code = yield getProcessOutputAndValue(
                sys.executable,
                [*command, "many", "info", "--json", "--expect", str(MANY), "--window", "60s"],
                environ,
            )
            self.assertEqual(code, 0, err.decode()[-2000:])
            replies = json.loads(out)["replies"]
            senders = Counter(each["sender"] for each in replies)
            self.assertEqual((len(senders), set(senders.values())), (MANY, {1}))
            self.assertEqual(replies[0]["data"]["facts"], FACTS)


class ThreadTests(TestCase):
    """Published from threads, on an otherwise idle service."""

    timeout = 120
    threads = 8
    items = 1000

    @inlineCallbacks
    def test_threads(self) -> Generator[Any, Any, None]:
        """Whole, and in order for each thread."""
        server = NatsServer()
        self.addCleanup(server.close)
        server.start()
        yield server.when_ready(reactor)
        received: list[str] = []
        consumer = NatsClient([f"127.0.0.1:{server.port}"], reactor)

        def consume(message: Message) -> None:
            transport = v1.decode_transport(message.payload)
            secure = v1.decode_secure_request(transport.data)
            received.append(v1.decode_request(secure.message).message)

        consumer.subscribe("data", consume)
        consumer.startService()
        self.addCleanup(consumer.stopService)
        yield consumer.when_connected()
        yield consumer.flush()
        management = Management(
            {"name": "app", "identity": "one", "auth": {"insecure": True},
             "brokers": [f"127.0.0.1:{server.port}"], "loglevel": "critical"}
        )  # fmt: skip
        management.startService()
        self.addCleanup(management.stopService)
        yield management.when_ready()

        def produce(thread: int) -> None:
            for number in range(self.items):
                item = DataItem(f"{thread} {number}", destination="data")
                management.data_outbox.put_from_thread(item)

        def run() -> None:
            workers = [
                threading.Thread(target=produce, args=(number,)) for number in range(self.threads)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

        yield deferToThread(run)
        yield management.publish(DataItem("last", destination="data"))
        yield consumer.flush()
        self.assertEqual(received.pop(), "last")
        for thread in range(self.threads):
            got = [each.split()[1] for each in received if each.split()[0] == str(thread)]
            self.assertEqual(got, [str(number) for number in range(self.items)])
