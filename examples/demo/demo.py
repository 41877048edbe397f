"""The demo application: does some work unless it is paused, and publishes data.

``twistd -n --pidfile= backplane -c app.yaml`` runs it.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from twisted.application.service import Service
from twisted.internet import reactor, task
from twisted.logger import Logger
from zope.interface import implementer

from backplane import DataItem, LogLevel, Management, interfaces


@implementer(
    interfaces.IPausable,
    interfaces.IHealthCheckable,
    interfaces.IStopable,
    interfaces.ILogLevelSetable,
    interfaces.IInfoSource,
)
class App(Service):
    """A worker; everything that the backplane can manage, it lets be managed."""

    log = Logger()

    def __init__(self, config: dict[str, Any], management: Management) -> None:
        self.name = config["management"]["name"]
        self.config = config
        self.interval = config.get("interval", 1)
        self.management = management
        self.configured = True
        self._paused = False
        self._level = LogLevel.INFO
        self._work = task.LoopingCall(self.work)

    def startService(self) -> None:
        super().startService()
        self._work.start(self.interval, now=False)

    def stopService(self) -> None:
        if self._work.running:
            self._work.stop()
        super().stopService()

    def work(self) -> None:
        if self._paused:
            print(f"{self.name}: skipping work while paused", flush=True)
            return
        print(f"{self.name}: doing work", flush=True)
        reading = json.dumps({"app": self.name, "pid": os.getpid(), "time": time.time()})
        published = self.management.publish(DataItem(reading, destination="myapp.data"))
        published.addErrback(lambda failure: self.log.warn("not published: {f.value}", f=failure))

    # IPausable

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def flip(self) -> None:
        self._paused = not self._paused

    def paused(self) -> bool:
        return self._paused

    # IHealthCheckable

    def health_check(self) -> tuple[dict[str, bool], bool]:
        return {"configured": self.configured}, self.configured

    # IStopable

    def shutdown(self) -> None:
        reactor.stop()

    # ILogLevelSetable

    def set_log_level(self, level: LogLevel) -> None:
        self._level = level

    def get_log_level(self) -> LogLevel:
        return self._level

    # IInfoSource

    def fact_data(self) -> dict[str, Any]:
        return {key: value for key, value in self.config.items() if key != "management"}

    def version(self) -> str:
        return "0.0.1"


def make(config: dict[str, Any], management: Management) -> App:
    """What ``app: demo:make`` names: called with the whole file and the management."""
    return App(config, management)
