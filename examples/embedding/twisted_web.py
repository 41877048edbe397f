"""A shop on twisted.web: ``twistd -n --pidfile= -y twisted_web.py``."""

import logging
import os

from twisted.application import service, strports
from twisted.internet import reactor, task
from twisted.web import resource, server

from backplane import DataItem, Management
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
config = {"name": "shop", "brokers": [os.getenv("BROKER", "127.0.0.1")], "auth": {"insecure": True}}
seconds = float(os.environ.get("QUERY_SECONDS", "0.1"))
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts)
shop.health.add("database", lambda: task.deferLater(reactor, seconds), deferred=True)
management = Management(config)


class Orders(resource.Resource):
    isLeaf = True

    def render_POST(self, request: server.Request) -> bytes:
        if shop.paused():
            request.setResponseCode(503)
            return b"closed\n"
        facts["orders"] += 1
        log.debug("order %d", facts["orders"])
        management.data_outbox.put(DataItem(f"order {facts['orders']}"))
        return b"sold\n"


management.provide(shop)
management.provide(strports.service(os.getenv("LISTEN", "tcp:8000"), server.Site(Orders())))
application = service.Application("shop")
management.setServiceParent(application)
