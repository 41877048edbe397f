"""What ``make demo`` runs: a NATS server, four services, and an operator who manages them.

Everything is a process of its own on a free loopback port, and ends with this one.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backplane.testing import NatsServer

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
SERVICES = ("demo1", "demo2")
INSTANCES = ("a", "b")
PATIENCE = 30.0


BOTH = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C while a process is started: one that we do not know yet cannot be ended."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in BOTH}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)


class Processes:
    """A broker and services: processes in one folder, which end by :meth:`stop`."""

    def __init__(self, folder: Path, server: NatsServer) -> None:
        self.folder = folder
        self.server = server
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "USER": "operator"}

    @property
    def broker(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def start_broker(self) -> None:
        with undisturbed():
            self.server.start()
            self.server.wait_ready()

    def start_service(self, instance: str) -> None:
        """Run ``twistd`` with the configuration ``INSTANCE.yaml``, which is there already."""
        self.start(
            instance, str(BIN / "twistd"), "-n", "--pidfile=", "backplane", "-c", f"{instance}.yaml"
        )

    def start(self, name: str, *command: str, **environ: str) -> subprocess.Popen[bytes]:
        """Run a command beside this process; what it says goes to its log."""
        with self.log(name).open("wb") as log, undisturbed():
            process = self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def wait_for(self, name: str, words: str) -> None:
        """Wait until a process has said something."""
        end = time.monotonic() + PATIENCE
        while words not in self.log(name).read_text(errors="replace"):
            ended = self.processes[name].poll() is not None
            if ended or time.monotonic() > end:
                text = self.log(name).read_text(errors="replace")
                raise SystemExit(f"{name} never said {words!r}:\n{text}")
            time.sleep(0.05)

    def stop(self) -> None:
        # A second Ctrl-C must not leave anything behind.
        before = [signal.signal(number, signal.SIG_IGN) for number in BOTH]
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.server.close()
        for number, handler in zip(BOTH, before, strict=True):
            signal.signal(number, handler)


class Fleet(Processes):
    """Four services in the insecure mode, and who manages them."""

    def start_all(self) -> None:
        self.start_broker()
        print(f"started nats-server on {self.broker}")
        (self.folder / "client.cfg").write_text(
            f"loglevel = warning\nplugin.choria.middleware_hosts = {self.broker}\n"
        )
        names = [(name, f"{name}-{instance}") for name in SERVICES for instance in INSTANCES]
        for name, instance in names:
            self.configure(name, instance, dc=f"DC{SERVICES.index(name) + 1}")
            print(
                f"$ twistd -n --pidfile= backplane -c {instance}.yaml    # {instance}.example.net"
            )
            self.start_service(instance)
        for _, instance in names:
            self.wait_for(instance, "ready:")

    def configure(self, name: str, instance: str, dc: str) -> None:
        document = {
            "app": "demo:make",
            "interval": 1,
            "dc": dc,
            "management": {
                "name": name,
                "identity": f"{instance}.example.net",
                "loglevel": "info",
                "auth": {"insecure": True},
                "brokers": [self.broker],
            },
        }
        (self.folder / f"{instance}.yaml").write_text(json.dumps(document, indent=2))

    def backplane(self, arguments: str) -> None:
        """Run the command line as an operator would."""
        print(f"\n$ backplane --insecure {arguments}", flush=True)
        config = str(self.folder / "client.cfg")
        command = [str(BIN / "backplane"), "--insecure", "--config", config]
        done = subprocess.run(
            [*command, *shlex.split(arguments)], env=self.environ, cwd=self.folder, check=False
        )
        if done.returncode:
            raise SystemExit(f"backplane ended with status {done.returncode}")

    def listen(self, subject: str, count: int) -> None:
        print(f"\n$ python listen.py {subject}", flush=True)
        subprocess.run(
            [sys.executable, str(HERE / "listen.py"), self.broker, subject, str(count)],
            env=self.environ,
            cwd=self.folder,
            check=True,
            timeout=PATIENCE,
        )


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="backplane-demo-") as folder:
        fleet = Fleet(Path(folder), NatsServer())
        try:
            fleet.start_all()
            fleet.backplane("demo2 info")
            fleet.backplane("demo2 pause -I demo2-a.example.net")
            fleet.backplane("demo2 info")
            fleet.backplane("demo2 resume")
            fleet.backplane("demo1 health -v")
            fleet.backplane("demo1 debuglvl")
            fleet.backplane("demo1 ping -F dc=DC1")
            fleet.backplane("demo1 threaddump -I demo1-a.example.net")
            fleet.listen("myapp.data", 4)
        finally:
            fleet.stop()
    print("\nstopped everything")
    return 0


if __name__ == "__main__":
    sys.exit(main())
