"""A shop on Django: ``python django_app.py runserver --noreload``."""

import logging
import os
import signal
import time

from django import conf, http, urls
from django.core.management import execute_from_command_line

from backplane import DataItem, start_in_thread
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
config = {"name": "shop", "brokers": [os.getenv("BROKER", "127.0.0.1")], "auth": {"insecure": True}}
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts)


@shop.health.check("database")
def database() -> None:
    time.sleep(float(os.environ.get("QUERY_SECONDS", "0.1")))


def order(request: http.HttpRequest) -> http.HttpResponse:
    if shop.paused():
        return http.HttpResponse("closed\n", status=503)
    facts["orders"] += 1
    log.debug("order %d", facts["orders"])
    management.put(DataItem(f"order {facts['orders']}"))
    return http.HttpResponse("sold\n")


urlpatterns = [urls.path("", order)]
conf.settings.configure(ROOT_URLCONF=__name__, DEBUG=True, LOGGING_CONFIG=None)
signal.signal(signal.SIGTERM, signal.default_int_handler)  # which stops it as Ctrl-C does
with start_in_thread(config, shop) as management:
    execute_from_command_line()
