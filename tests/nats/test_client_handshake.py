"""C3, C4, C9, C11: everything that can go wrong before a connection is one."""

from __future__ import annotations

from twisted.logger import LogLevel

from backplane.nats.client import ConnectFailed, Disconnected
from backplane.nats.errors import ConnectionFailed
from tests.nats.bench import HELLO, ClientCase, Script, Scripted


class HandshakeCase(ClientCase):
    """A scripted server at ``f``."""

    def setUp(self) -> None:
        super().setUp()
        self.script = Script(b"")
        self.network.listen("f", 4222, self.script)

    def end(self) -> Scripted:
        """Return the newest connection's other end."""
        return self.script.ends[-1]

    def reason(self) -> ConnectionFailed:
        """Return why the first try failed."""
        failed = next(event for event in self.events if isinstance(event, ConnectFailed))
        self.assertEqual(failed.server, "f:4222")
        assert isinstance(failed.reason, ConnectionFailed)
        self.assertEqual(failed.reason.server, "f:4222")
        return failed.reason

    def refused(self, said: bytes, *, close: bool = False) -> tuple[str, str]:
        """Return phase and words, when the server says this."""
        self.events.clear()
        client = self.start("f")
        self.end().send(said)
        if close:
            self.end().hang_up()
        self.network.flush()
        self.assertFalse(client.is_connected)
        self.stop(client)
        reason = self.reason()
        return reason.phase, str(reason)


class PhaseTests(HandshakeCase):
    """The phase and the cause are named."""

    def test_not_nats(self) -> None:
        """A wrong port is recognised by what it says."""
        for said in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"+PONG\r\n",
            b"\r\n",
        ):
            phase, text = self.refused(said)
            self.assertEqual((phase, text), ("info", f"not a NATS server: got {said[:40]!r}"))
            self.assertEqual(self.end().received, b"")
        self.assertEqual(
            self.refused(b"PONG\r\n"), ("info", "not a NATS server: PONG came before INFO")
        )

    def test_closed(self) -> None:
        """Closing before and after INFO are different things."""
        self.assertEqual(self.refused(b"", close=True), ("info", "closed before INFO"))
        self.assertEqual(self.refused(HELLO, close=True), ("handshake", "closed after INFO"))

    def test_reset(self) -> None:
        """A reset is told like a close."""
        self.start("f")
        self.network.cut()
        self.network.flush()
        self.assertEqual((self.reason().phase, str(self.reason())), ("info", "closed before INFO"))

    def test_words_of_the_server(self) -> None:
        """C6: an error may come before anything was asked; it is the reason then."""
        words = "maximum connections exceeded"
        said = f"-ERR '{words}'\r\n".encode()
        self.assertEqual(self.refused(HELLO + said, close=True), ("handshake", words))
        first = f"not a NATS server: -ERR '{words}' came before INFO"
        self.assertEqual(self.refused(said, close=True), ("info", first))

    def test_cluster_port(self) -> None:
        """C11: the port for other servers says INFO, and then what is wrong."""
        words = 'Rejecting connection, cluster name "" does not match "c"'
        self.assertEqual(
            self.refused(HELLO + f"-ERR '{words}'\r\n".encode(), close=True), ("handshake", words)
        )

    def test_message_too_early(self) -> None:
        """Messages before the PONG are an error."""
        phase, text = self.refused(HELLO + b"MSG a 1 0\r\n\r\n")
        self.assertEqual(text, "a message before the handshake was done")
        self.assertEqual(phase, "handshake")

    def test_bad_info(self) -> None:
        """P7: INFO that is not a JSON object is no greeting."""
        for document in (b"{", b"[]", b"\xff{}", b"[" * 10_000):
            phase, text = self.refused(b"INFO " + document + b"\r\n")
            self.assertEqual(phase, "info", document[:10])
            self.assertTrue(text.startswith("not a NATS server: got b'INFO "), text)

    def test_odd_info(self) -> None:
        """P7: unknown fields, and known ones of a wrong type, do not matter."""
        for number, document in enumerate(
            (
                b"{}",
                b'{"max_payload":"big","connect_urls":"b:1","headers":"yes","tls_required":0}',
                b'{"max_payload":-1,"connect_urls":[null,{},[]],"x":{"y":[1e999]}}',
                b'{"max_payload":true,"proto":"one","client_id":"none","version":7}',
            )
        ):
            client = self.start("f")
            self.end().send(b"INFO " + document + b"\r\nPONG\r\n")
            self.network.flush()
            self.assertTrue(client.is_connected, document)
            self.assertEqual(client.max_payload, 1024 * 1024)
            self.assertNotIn(b'"headers"', self.end().received)
            self.assertEqual(len(self.script.ends), number + 1)
            self.stop(client)

    def test_after_the_handshake(self) -> None:
        """Closed after the PONG it is a lost connection, not a failed try."""
        self.start("f")
        self.end().send(HELLO + b"PONG\r\n")
        self.end().hang_up()
        self.network.flush()
        self.assertEqual(self.event_names()[:2], ["Connected", "Disconnected"])


class TimeTests(HandshakeCase):
    """One deadline for all that follows the open socket."""

    def test_silence(self) -> None:
        """No INFO."""
        self.start("f", connect_timeout=3)
        self.advance(2.9)
        self.assertEqual(self.events, [])
        self.advance(0.1)
        self.assertEqual(
            (self.reason().phase, str(self.reason())), ("info", "INFO did not come within 3 s")
        )
        self.assertTrue(self.script.ends[0].lost)

    def test_no_pong(self) -> None:
        """INFO, and no PONG: the time of INFO does not prolong it."""
        self.start("f", connect_timeout=3)
        self.advance(2)
        self.end().send(HELLO)
        self.advance(0.9)
        self.assertEqual(self.events, [])
        self.advance(0.1)
        self.assertEqual(self.reason().phase, "handshake")
        self.assertEqual(
            str(self.reason()), "the PONG that ends the handshake did not come within 3 s"
        )

    def test_complaint_without_end(self) -> None:
        """A server that complains and does not close: its words are in the reason."""
        self.start("f", connect_timeout=3)
        self.end().send(HELLO + b"-ERR 'Go away'\r\n")
        self.advance(3)
        self.assertTrue(str(self.reason()).startswith("Go away; the PONG"), str(self.reason()))

    def test_deadline_ends(self) -> None:
        """A connection that is made in time is not ended by it."""
        client = self.start("f", connect_timeout=3, ping_interval=1000)
        self.advance(2.9)
        self.end().send(HELLO + b"PONG\r\n")
        self.advance(30)
        self.assertTrue(client.is_connected)

    def test_next_server(self) -> None:
        """C4: another server is tried without waiting."""
        client = self.start("f,a", randomize=False)
        self.end().send(HELLO)
        self.end().hang_up()
        self.network.flush()
        self.assertEqual(client.connected_url, "nats://a:4222")
        self.assertEqual(self.clock.seconds(), 0)

    def test_back_off(self) -> None:
        """C11: whatever is there instead of a server is not tried in a fast loop."""
        self.script.greeting = b"HTTP/1.1 400 Bad Request\r\n"
        self.start("f")
        self.advance(60)
        self.assertLess(len(self.script.ends), 18)
        warnings = [line for line in self.lines(LogLevel.warn) if "cannot" in line]
        self.assertEqual(len(warnings), 1)


class StopTests(HandshakeCase):
    """C9: stopping in each phase ends at once, and leaves nothing."""

    def stop_at_once(self, said: bytes = b"", seconds: float = 0) -> None:
        """Stop when the server has said this."""
        client = self.start("f")
        if said:
            self.end().send(said)
        self.advance(seconds)
        stopped = client.stopService()
        self.network.flush()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.network.transports, self.network.attempts), ([], []))
        self.assertFalse(any(isinstance(event, Disconnected) for event in self.events))
        tried = len(self.tried)
        self.advance(60)
        self.assertEqual(len(self.tried), tried)

    def test_phases(self) -> None:
        """Waiting for INFO, for PONG, between two tries."""
        self.stop_at_once()
        self.stop_at_once(HELLO)
        self.stop_at_once(b"POO\r\n", 0.1)

    def test_socket(self) -> None:
        """While the socket is being opened."""
        self.network.stall("f")
        self.stop_at_once()
        self.network.release()

    def test_between_servers(self) -> None:
        """Between a failed try and the next of the same round."""
        client = self.client("x,y", randomize=False)

        def stop(event: object) -> None:
            client.stopService()

        client.add_listener(stop)
        client.startService()
        self.network.flush()
        self.assertEqual(self.tried, [(0.0, "x")])
