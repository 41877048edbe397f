"""A shop on FastAPI: ``uvicorn fastapi_app:app``."""

import asyncio
import logging
import os

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from backplane import DataItem, aio
from backplane.parts import Application, Paused

logging.basicConfig(level="INFO")
log = logging.getLogger("shop")
broker = os.environ.get("BROKER", "127.0.0.1:4222")
config = {"name": "shop", "brokers": [broker], "auth": {"insecure": True}}
facts = {"orders": 0}
shop = Application(version="1.0", facts=facts, breakers=("payments",))
app = FastAPI(lifespan=aio.lifespan(config, shop))


@shop.health.check("database")
async def database() -> None:
    await asyncio.sleep(float(os.environ.get("QUERY_SECONDS", "0.1")))


@app.exception_handler(Paused)
async def closed(request: Request, error: Paused) -> PlainTextResponse:
    return PlainTextResponse("closed\n", 503)


@app.post("/")
@shop.work("payments").guard(wait=False)
async def order() -> str:
    facts["orders"] += 1
    log.debug("order %d", facts["orders"])
    await app.state.management.put(DataItem(f"order {facts['orders']}"))
    return "sold"
