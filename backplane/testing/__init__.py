"""For tests: fake and real brokers, a network in memory, certificates, a harness."""

from backplane.testing.application import RecordingApplication
from backplane.testing.broker import FakeBroker
from backplane.testing.callers import Caller, Result
from backplane.testing.harness import Harness
from backplane.testing.natsserver import NatsServer
from backplane.testing.network import MemoryNetwork
from backplane.testing.pki import PKI
from backplane.testing.stream import FakeStream

__all__ = [
    "PKI",
    "Caller",
    "FakeBroker",
    "FakeStream",
    "Harness",
    "MemoryNetwork",
    "NatsServer",
    "RecordingApplication",
    "Result",
]
