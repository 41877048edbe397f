"""A shop on Django: ``python django_app.py runserver --noreload``."""

import logging
import os
import signal
import sys
import time

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.urls import path

from backplane import DataItem, start_in_thread
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
broker = os.environ.get("BROKER", "127.0.0.1:4222")
config = {"name": "shop", "brokers": [broker], "auth": {"insecure": True}}
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts)


@shop.health.check("database")
def database() -> None:
    time.sleep(float(os.environ.get("QUERY_SECONDS", "0.1")))


def order(request: HttpRequest) -> HttpResponse:
    if shop.paused():
        return HttpResponse("closed\n", status=503)
    facts["orders"] += 1
    log.debug("order %d", facts["orders"])
    management.put(DataItem(f"order {facts['orders']}"))
    return HttpResponse("sold\n")


urlpatterns = [path("", order)]
settings.configure(ROOT_URLCONF=__name__, DEBUG=True, LOGGING_CONFIG=None)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with start_in_thread(config, shop) as management:
        execute_from_command_line(sys.argv)
