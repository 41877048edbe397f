"""A shop that is a plain loop: ``python script.py``."""

import logging
import os
import signal
import sys
import time

from backplane import DataItem, start_in_thread
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
broker = os.environ.get("BROKER", "127.0.0.1:4222")
config = {"name": "shop", "brokers": [broker], "auth": {"insecure": True}}
facts = {"orders": 0}


def shutdown() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


shop = Application(version="1.0", facts=facts, shutdown=shutdown)


@shop.health.check("database")
def database() -> None:
    time.sleep(float(os.environ.get("QUERY_SECONDS", "0.1")))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with start_in_thread(config, shop) as management:
        while True:
            with shop.work():  # waits while operators have paused it
                facts["orders"] += 1
                log.debug("order %d", facts["orders"])
                management.put(DataItem(f"order {facts['orders']}"))
                time.sleep(0.05)
