"""A shop on aiohttp: ``python -m aiohttp.web -P 8000 aiohttp_app:make``."""

import asyncio
import logging
import os

from aiohttp import web

from backplane import DataItem, aio
from backplane.parts import Application

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
config = {"name": "shop", "brokers": [os.getenv("BROKER", "127.0.0.1")], "auth": {"insecure": True}}
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


async def make(argv: list[str]) -> web.Application:
    app = web.Application()
    app.router.add_post("/", order)
    app[MANAGEMENT] = await aio.start(config, shop)
    app.on_cleanup.append(lambda app: app[MANAGEMENT].stop())
    return app
