"""The order in which publishes reach the socket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.outflow import Outflow


class _Socket:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def writeSequence(self, parts: tuple[bytes, ...]) -> None:
        self.written += b"".join(parts)


class OrderTests(SynchronousTestCase):
    """Everything is written once, in the order in which it was published."""

    @given(
        st.lists(
            st.sampled_from(
                ("publish", "parts", "line", "read", "turn", "pause", "resume", "hold", "release")
            ),
            max_size=80,
        )
    )
    def test_order(self, steps: list[str]) -> None:
        """Whatever comes in between: reads, turns, a full socket, another connection.

        A control line may overtake what is kept back for a full socket, and nothing else.
        """
        clock = Clock()
        lines: list[bytes] = []

        def ping(done: Deferred[None]) -> None:
            raise AssertionError("nobody flushes")

        outflow = Outflow(clock, ping, 1 << 20, "here")
        socket = outflow.transport = _Socket()
        published: list[bytes] = []
        for number, step in enumerate(steps):
            item = b"%d;" % number
            if step == "publish":
                published.append(item)
                outflow.publish(item)
            elif step == "parts":
                published.append(item)
                outflow.publish_parts(item[:1], item[1:])
            elif step == "line":
                lines.append(b"L%d;" % number)
                outflow.send(lines[-1])
            elif step == "read":
                outflow.burst = 0
            elif step == "turn":
                clock.advance(0)
            elif step == "pause":
                outflow.pauseProducing()
            elif step == "hold":
                outflow.hold()
            elif step == "release":
                outflow.release()
            else:
                outflow.resumeProducing()
        outflow.release()
        outflow.resumeProducing()
        clock.advance(0)
        written = [each + b";" for each in socket.written.split(b";")[:-1]]
        self.assertEqual([each for each in written if not each.startswith(b"L")], published)
        self.assertEqual([each for each in written if each.startswith(b"L")], lines)

    def test_join_after_read(self) -> None:
        """What was joined before a read is written before what is published after it."""
        clock = Clock()
        outflow = Outflow(clock, lambda done: None, 1 << 20, "here")
        socket = outflow.transport = _Socket()
        for number in range(10):
            outflow.publish(b"%d;" % number)
        outflow.burst = 0
        outflow.publish(b"10;")
        clock.advance(0)
        self.assertEqual(socket.written, b"0;1;2;3;4;5;6;7;8;9;10;")
