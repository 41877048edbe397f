"""The demo application: does some work unless it is paused, and publishes data.

``twistd -n --pidfile= backplane -c app.yaml`` runs it. Its work has two parts, ``payments`` and
``search``, and each has a breaker of its own. With ``job: 10`` in the file each payment takes
ten seconds, and is in flight as long.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

from twisted.application.service import Service
from twisted.internet import reactor, task
from twisted.logger import Logger
from zope.interface import implementer

from backplane import DataItem, LogLevel, Management, interfaces
from backplane.parts import Breaker, Breakers, InFlight, LogLevels

PARTS = ("payments", "search")


@implementer(
    interfaces.IDrainable,
    interfaces.INamedBreakers,
    interfaces.IHealthCheckable,
    interfaces.IStopable,
    interfaces.ILoggerLevels,
    interfaces.IInfoSource,
)
class App(Service):
    """A worker; everything that the backplane can manage, it lets be managed."""

    log = Logger()

    def __init__(self, config: dict[str, Any], management: Management) -> None:
        self.name = config["management"]["name"]
        self.config = config
        self.interval = config.get("interval", 1)
        self.job = config.get("job", 0)
        self.management = management
        self.configured = True
        self._breaker = Breaker()
        self._breakers = Breakers(*PARTS)
        self._jobs = InFlight()
        self._levels = LogLevels("demo")
        self._work = task.LoopingCall(self.work)

    def startService(self) -> None:
        super().startService()
        self._work.start(self.interval, now=False)

    def stopService(self) -> None:
        if self._work.running:
            self._work.stop()
        super().stopService()

    def work(self) -> None:
        if self._breaker.paused():
            print(f"{self.name}: skipping work while paused", flush=True)
            return
        parts = [name for name in PARTS if not self._breakers[name].paused()]
        print(f"{self.name}: doing work: {', '.join(parts) or 'none'}", flush=True)
        for name in parts:
            logging.getLogger(f"demo.{name}").debug("%s at work", name)
        if "payments" in parts and self.job:
            self.pay()
        reading = json.dumps({"app": self.name, "pid": os.getpid(), "time": time.time()})
        published = self.management.publish(DataItem(reading, destination="myapp.data"))
        published.addErrback(lambda failure: self.log.warn("not published: {f.value}", f=failure))

    def pay(self) -> None:
        """Begin a payment, which is in flight until it is done."""
        self._jobs.begin()
        reactor.callLater(self.job, self._jobs.end)

    # IDrainable, which is an IPausable, too

    def pause(self) -> None:
        self._breaker.pause()

    def resume(self) -> None:
        self._breaker.resume()

    def flip(self) -> None:
        self._breaker.flip()

    def paused(self) -> bool:
        return self._breaker.paused()

    def drain(self) -> None:
        self._breaker.pause()

    def in_flight(self) -> int:
        return self._jobs.count

    # INamedBreakers

    def breakers(self) -> dict[str, Any]:
        return self._breakers.breakers()

    # IHealthCheckable

    def health_check(self) -> tuple[dict[str, bool], bool]:
        return {"configured": self.configured}, self.configured

    # IStopable

    def shutdown(self) -> None:
        reactor.stop()

    # ILoggerLevels, which is an ILogLevelSetable, too

    def set_log_level(self, level: LogLevel) -> None:
        self._levels.set_log_level(level)

    def get_log_level(self) -> LogLevel:
        return self._levels.get_log_level()

    def restore_log_level(self) -> None:
        self._levels.restore_log_level()

    def loggers(self) -> dict[str, tuple[LogLevel | None, LogLevel]]:
        return self._levels.loggers()

    def set_logger_level(self, name: str, level: LogLevel | None) -> None:
        self._levels.set_logger_level(name, level)

    # IInfoSource

    def fact_data(self) -> dict[str, Any]:
        return {key: value for key, value in self.config.items() if key != "management"}

    def version(self) -> str:
        return "0.0.1"


def make(config: dict[str, Any], management: Management) -> App:
    """What ``app: demo:make`` names: called with the whole file and the management."""
    logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
    logging.getLogger("demo").setLevel(logging.INFO)
    return App(config, management)
