"""Names resolved by threads, here at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from backplane.reactors.names import ImpatientResolver


@implementer(IResolutionReceiver)
class Receiver:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        verifyObject(IHostResolution, resolutionInProgress)
        self.told.append("began")

    def addressResolved(self, address: IAddress) -> None:
        self.told.append(address)

    def resolutionComplete(self) -> None:
        self.told.append("complete")


class AtOnce:
    """A thread that runs when it is started."""

    def __init__(self, target: Callable[[], None], daemon: bool, name: str) -> None:
        assert daemon
        self.start = target


class ResolverTests(SynchronousTestCase):
    """With an operating system that answers as the test says."""

    def setUp(self) -> None:
        self.patch(threading, "Thread", AtOnce)
        self.calls: list[Callable[[], None]] = []
        self.receiver = Receiver()

    def callFromThread(self, function: Callable[..., None], *args: Any) -> None:
        self.calls.append(lambda: function(*args))

    def resolve(self, answer: Any, wanted: Any = None) -> IHostResolution:
        def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.patch(socket, "getaddrinfo", getaddrinfo)
        resolver = ImpatientResolver(self)
        return resolver.resolveHostName(self.receiver, "b.example.net", 4222, wanted)

    def test_addresses(self) -> None:
        """Both families, in order; only those that are wanted."""
        found = [
            (socket.AF_INET6, 1, 6, "", ("::1", 4222, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("192.0.2.1", 4222)),
            (socket.AF_UNIX, 1, 6, "", "/path"),
        ]
        six, four = IPv6Address("TCP", "::1", 4222, 0, 0), IPv4Address("TCP", "192.0.2.1", 4222)
        self.resolve(found)
        self.assertEqual(self.receiver.told, ["began"])
        self.calls.pop()()
        self.assertEqual(self.receiver.told, ["began", six, four, "complete"])
        self.receiver.told.clear()
        self.resolve(found, [IPv4Address])
        self.calls.pop()()
        self.assertEqual(self.receiver.told, ["began", four, "complete"])

    def test_failures(self) -> None:
        """A name that is unknown, or is none, has no addresses."""
        for error in (socket.gaierror(8, "unknown"), UnicodeError("label too long")):
            self.receiver.told.clear()
            self.resolve(error)
            self.calls.pop()()
            self.assertEqual(self.receiver.told, ["began", "complete"])

    def test_too_late(self) -> None:
        """Where the loop was closed meanwhile, nobody is told, and nothing is raised."""

        def closed(function: object, *args: object) -> None:
            raise RuntimeError("Event loop is closed")

        self.patch(self, "callFromThread", closed)
        self.resolve([])
        self.assertEqual(self.receiver.told, ["began"])

    def test_cancelled(self) -> None:
        """Nobody hears of what was cancelled."""
        self.resolve([]).cancel()
        self.calls.pop()()
        self.assertEqual(self.receiver.told, ["began"])
