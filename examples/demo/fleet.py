"""What ``make demo`` runs: a NATS server, four services, and an operator who manages them.

Everything is a process of its own on a free loopback port, and ends with this one.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backplane.testing import NatsServer

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
SERVICES = ("demo1", "demo2")
INSTANCES = ("a", "b")
PATIENCE = 30.0


class Fleet:
    """The broker and the services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = NatsServer()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environ = {**os.environ, "PYTHONPATH": str(HERE), "USER": "operator"}

    def start(self) -> None:
        self.server.start()
        self.server.wait_ready()
        print(f"started nats-server on 127.0.0.1:{self.server.port}")
        (self.folder / "client.cfg").write_text(
            f"loglevel = warning\nplugin.choria.middleware_hosts = 127.0.0.1:{self.server.port}\n"
        )
        for number, name in enumerate(SERVICES):
            for instance in INSTANCES:
                self.start_service(name, instance, dc=f"DC{number + 1}")
        for name in SERVICES:
            for instance in INSTANCES:
                self.wait_ready(f"{name}-{instance}")

    def start_service(self, name: str, instance: str, dc: str) -> None:
        identity = f"{name}-{instance}.example.net"
        config = self.folder / f"{name}-{instance}.yaml"
        config.write_text(
            json.dumps(
                {
                    "app": "demo:make",
                    "interval": 1,
                    "dc": dc,
                    "management": {
                        "name": name,
                        "identity": identity,
                        "loglevel": "info",
                        "auth": {"insecure": True},
                        "brokers": [f"127.0.0.1:{self.server.port}"],
                    },
                },
                indent=2,
            )
        )
        print(f"$ twistd -n backplane -c {config.name}    # {identity}")
        with self.log(f"{name}-{instance}").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [str(BIN / "twistd"), "-n", "--pidfile=", "backplane", "-c", str(config)],
                    cwd=self.folder,
                    env=self.environ,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def wait_ready(self, service: str) -> None:
        end = time.monotonic() + PATIENCE
        while "ready:" not in self.log(service).read_text(errors="replace"):
            if time.monotonic() > end:
                raise SystemExit(f"{service} did not start:\n{self.log(service).read_text()}")
            time.sleep(0.05)

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
        broker = f"127.0.0.1:{self.server.port}"
        subprocess.run(
            [sys.executable, str(HERE / "listen.py"), broker, subject, str(count)],
            env=self.environ,
            cwd=self.folder,
            check=True,
            timeout=PATIENCE,
        )

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.server.stop()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="backplane-demo-") as folder:
        fleet = Fleet(Path(folder))
        try:
            fleet.start()
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
