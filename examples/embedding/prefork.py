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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with start_in_thread(config, shop) as management:
        while True:
            shop.breaker.wait()  # while operators have paused it
            facts["orders"] += 1
            log.debug("order %d", facts["orders"])
            management.put(DataItem(f"order {facts['orders']}"))
            time.sleep(0.05)


def stop(*_: object) -> None:
    for worker in workers:
        worker.terminate()


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work), context.Process(target=work)]
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, stop)
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))
