"""A shop on twisted.web: ``twistd -n --pidfile= -y twisted_web.py``."""

import os
import sys

from twisted.application import internet, service
from twisted.internet import endpoints, reactor, task
from twisted.logger import FilteringLogObserver, ILogObserver, Logger, textFileLogObserver
from twisted.logger import LogLevel as Level
from twisted.logger import LogLevelFilterPredicate as Levels
from twisted.web import resource, server

from backplane import DataItem, Management
from backplane.parts import Application, LogLevels

log, levels = Logger("shop"), Levels(Level.info)
broker = os.environ.get("BROKER", "127.0.0.1:4222")
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts, levels=LogLevels(levels))
management = Management({"name": "shop", "brokers": [broker], "auth": {"insecure": True}})


@shop.health.check("database")
async def database() -> None:
    await task.deferLater(reactor, float(os.environ.get("QUERY_SECONDS", "0.1")))


class Orders(resource.Resource):
    isLeaf = True

    def render_POST(self, request: server.Request) -> bytes:
        if shop.paused():
            request.setResponseCode(503)
            return b"closed\n"
        facts["orders"] += 1
        log.debug("order {number}", number=facts["orders"])
        management.data_outbox.put(DataItem(f"order {facts['orders']}"))
        return b"sold\n"


port = endpoints.serverFromString(reactor, os.environ.get("LISTEN", "tcp:8000"))
management.provide(shop)
management.provide(internet.StreamServerEndpointService(port, server.Site(Orders())))
application = service.Application("shop")
output = FilteringLogObserver(textFileLogObserver(sys.stdout), [levels])
application.setComponent(ILogObserver, output)
management.setServiceParent(application)
