"""Pause a fleet from asyncio, look, resume it: ``client_asyncio.py BROKER SERVICE``."""

import asyncio
import sys

from backplane.client import AsyncClient, Progress


class Shown(Progress):
    def answered(self, done: int, count: int) -> None:
        print(f"{done} of {count}")


async def main(broker: str, service: str) -> int:
    async with AsyncClient(broker, insecure=True) as client:
        paused = await client.request(service, "pause", progress=Shown())
        if paused.silent or paused.failed:
            print(f"not paused: {paused.silent} {paused.failed}")
        info = await client.request(service, "info", expect=paused.count)
        for answer in info.good:
            print(f"{answer.sender}: paused={answer.reply.data['paused']}")
        resumed = await client.request(service, "resume", expect=paused.count)
        return resumed.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
