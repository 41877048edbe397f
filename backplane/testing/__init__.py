"""For tests: a fake broker, a network in memory, a real nats-server, a harness."""

from backplane.testing.application import RecordingApplication
from backplane.testing.broker import FakeBroker
from backplane.testing.harness import Harness
from backplane.testing.natsserver import NatsServer
from backplane.testing.network import MemoryNetwork

__all__ = ["FakeBroker", "Harness", "MemoryNetwork", "NatsServer", "RecordingApplication"]
