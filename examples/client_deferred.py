"""Health of a fleet with Deferreds: ``client_deferred.py BROKER SERVICE FACT``."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from backplane.client import Client


async def check(reactor: Any, broker: str, service: str, fact: str) -> None:
    client = Client(broker, reactor, insecure=True)
    client.startService()
    try:
        found = await client.discover(service, facts=[fact])
        count = sum(found.values())
        print(f"{count} services: {', '.join(sorted(found))}")
        outcome = await client.request(service, "health", facts=[fact], expect=count)
    finally:
        await client.stopService()
    for answer in sorted(outcome.answers, key=lambda answer: answer.sender):
        state = "good" if answer.good else f"bad: {answer.reply.message!r}"
        print(f"{answer.sender} is {state}")
    for identity in outcome.silent:
        print(f"{identity} did not answer")
    raise SystemExit(int(outcome.exit_code))


def main(reactor: Any, *argv: str) -> Deferred[None]:
    return Deferred.fromCoroutine(check(reactor, *argv))


if __name__ == "__main__":
    react(main, sys.argv[1:])
