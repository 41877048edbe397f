"""A web site with a backplane; paused, it answers 503. Run it with ``python web.py``."""

import os

from twisted.application.internet import StreamServerEndpointService
from twisted.internet import endpoints, reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from backplane import Management
from backplane.interfaces import IPausable


@implementer(IPausable)
class Page(Resource):
    isLeaf = True
    closed = False

    def render_GET(self, request: Request) -> bytes:
        request.setResponseCode(503 if self.closed else 200)
        return b"closed\n" if self.closed else b"open\n"

    def pause(self) -> None:
        self.closed = True

    def resume(self) -> None:
        self.closed = False

    def flip(self) -> None:
        self.closed = not self.closed

    def paused(self) -> bool:
        return self.closed


brokers = [os.environ.get("BROKER", "127.0.0.1:4222")]
port = endpoints.serverFromString(reactor, os.environ.get("LISTEN", "tcp:8080"))
page = Page()
management = Management({"name": "site", "brokers": brokers, "auth": {"insecure": True}})
management.provide(page)
management.provide(StreamServerEndpointService(port, Site(page)))
reactor.callWhenRunning(management.startService)
reactor.addSystemEventTrigger("before", "shutdown", management.stopService)
reactor.run()
