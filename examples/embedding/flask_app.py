"""A shop on Flask: ``gunicorn -c gunicorn_hooks.py -w 2 flask_app:app``, with ``--preload`` too."""

import logging
import os
import time

from flask import Flask

from backplane import DataItem, ThreadedManagement, start_in_thread
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
broker = os.environ.get("BROKER", "127.0.0.1:4222")
config = {"name": "shop", "instance": "${PID}", "brokers": [broker], "auth": {"insecure": True}}
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts)
app = Flask(__name__)


def manage() -> ThreadedManagement:
    """Start; once in each worker, after the fork."""
    management = app.extensions["management"] = start_in_thread(config, shop)
    return management


@shop.health.check("database")
def database() -> None:
    time.sleep(float(os.environ.get("QUERY_SECONDS", "0.1")))


@app.post("/")
def order() -> tuple[str, int]:
    if shop.paused():
        return "closed\n", 503
    facts["orders"] += 1
    log.debug("order %d", facts["orders"])
    app.extensions["management"].put(DataItem(f"order {facts['orders']}"))
    return "sold\n", 200
