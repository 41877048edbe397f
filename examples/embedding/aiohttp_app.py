"""A shop on aiohttp: ``python aiohttp_app.py [PORT]``."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator

from aiohttp import web

from backplane import DataItem, aio
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
broker = os.environ.get("BROKER", "127.0.0.1:4222")
config = {"name": "shop", "brokers": [broker], "auth": {"insecure": True}}
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts)
MANAGEMENT = web.AppKey("management", aio.AsyncManagement)


@shop.health.check("database")
async def database() -> None:
    await asyncio.sleep(float(os.environ.get("QUERY_SECONDS", "0.1")))


async def order(request: web.Request) -> web.Response:
    if shop.paused():
        raise web.HTTPServiceUnavailable(text="closed\n")
    facts["orders"] += 1
    log.debug("order %d", facts["orders"])
    await request.app[MANAGEMENT].put(DataItem(f"order {facts['orders']}"))
    return web.Response(text="sold\n")


async def managed(app: web.Application) -> AsyncIterator[None]:
    async with aio.running(config, shop) as app[MANAGEMENT]:
        yield


if __name__ == "__main__":
    app = web.Application()
    app.cleanup_ctx.append(managed)
    app.router.add_post("/", order)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 8000)
