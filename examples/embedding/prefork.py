"""A shop with two worker processes, forked as Celery's are: ``python prefork.py``."""

import logging
import multiprocessing
import os
import signal
import sys
import time

from backplane import DataItem, start_in_thread
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
broker = os.environ.get("BROKER", "127.0.0.1:4222")
config = {"name": "shop", "instance": "${PID}", "brokers": [broker], "auth": {"insecure": True}}
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts)


@shop.health.check("database")
def database() -> None:
    time.sleep(float(os.environ.get("QUERY_SECONDS", "0.1")))


def work() -> None:
    with start_in_thread(config, shop) as management:
        while shop.breaker.wait():  # waits while operators have paused it
            facts["orders"] += 1
            log.debug("order %d", facts["orders"])
            management.put(DataItem(f"order {facts['orders']}"))
            time.sleep(0.05)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # ends the workers, too
    for _ in range(2):
        multiprocessing.get_context("fork").Process(target=work, daemon=True).start()
    signal.pause()
