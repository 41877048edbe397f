"""Servers: how people write them, and the pool."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.servers import MAX_DISCOVERED, Server, ServerPool, parse_server, parse_servers

names = st.text("abcxyz0189-_", min_size=1, max_size=12)
secrets = st.text(min_size=1, max_size=12).filter(str.isascii)


class ParseTests(SynchronousTestCase):
    """One server."""

    def test_forms(self) -> None:
        """Host, port, scheme, IPv6, user information; blanks and a slash do not matter."""
        for text, server in (
            ("a", Server("a")),
            ("a:1", Server("a", 1)),
            (" a.example.net:65535 ", Server("a.example.net", 65535)),
            ("nats://a", Server("a", 4222)),
            ("NATS://a:9/", Server("a", 9)),
            ("tls://a:9", Server("a", 9, "tls")),
            ("10.0.0.1:5", Server("10.0.0.1", 5)),
            ("[::1]", Server("::1")),
            ("nats://[fe80::1%eth0]:7", Server("fe80::1%eth0", 7)),
            ("nats://u:p@a", Server("a", user="u", password="p")),
            ("u:p@[::1]:9", Server("::1", 9, user="u", password="p")),
            ("nats://u:p%40%3A%2F@a", Server("a", user="u", password="p@:/")),
            ("nats://u:p@q@a", Server("a", user="u", password="p@q")),
            ("nats://u:@a", Server("a", user="u", password="")),
            ("nats://t%20k@a:1", Server("a", 1, token="t k")),
            ("nats://@a", Server("a")),
        ):
            self.assertEqual(parse_server(text), server, text)

    def test_shown(self) -> None:
        """Address and URL have brackets where needed, and never credentials."""
        server = parse_server("tls://u:hush@[::1]:9")
        self.assertEqual((server.address, server.url), ("[::1]:9", "tls://[::1]:9"))
        self.assertNotIn("hush", repr(server))
        self.assertNotIn("hush", repr(parse_server("hush@a")))

    def test_refused(self) -> None:
        """The message names the entry, without its credentials."""
        for text, words in (
            ("", "is not a host name"),
            ("http://a", "the scheme must be nats:// or tls://"),
            ("a:", "is not a port"),
            ("a:0", "is not within 1 to 65535"),
            ("a:65536", "is not within 1 to 65535"),
            ("a:x", "is not a port"),
            ("a:-1", "is not a port"),
            ("a:\u0661", "is not a port"),
            ("a:123456", "is not a port"),
            ("::1", "an IPv6 address is written [::1]:4222"),
            ("fe80::1:4222", "an IPv6 address is written [::1]:4222"),
            ("[a]:1", "an IPv6 address is written [::1]:4222"),
            ("[::1", "an IPv6 address is written [::1]:4222"),
            ("[::1]4222", "an IPv6 address is written [::1]:4222"),
            ("a b", "is not a host name"),
            ("a/b", "is not a host name"),
            ("a,b", "is not a host name"),
        ):
            error = self.assertRaises(ValueError, parse_server, text)
            self.assertIn(words, str(error), text)
            if text:
                hidden = self.assertRaises(ValueError, parse_server, "u:hush@" + text)
                self.assertNotIn("hush", str(hidden), text)

    @given(names, st.integers(1, 65535), secrets, secrets)
    def test_round_trip(self, host: str, port: int, user: str, password: str) -> None:
        """What is quoted comes back."""
        from urllib.parse import quote

        text = f"nats://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"
        server = parse_server(text)
        self.assertEqual((server.host, server.port), (host, port))
        self.assertEqual((server.user, server.password), (user, password))

    @given(st.text(max_size=30))
    def test_anything(self, text: str) -> None:
        """Any text is a server or a ValueError."""
        try:
            server = parse_server(text)
        except ValueError:
            return
        self.assertEqual(parse_server(server.url).address, server.address)

    def test_several(self) -> None:
        """A comma-separated text, or a sequence; not none."""
        wanted = [Server("a"), Server("b", 1, "tls")]
        self.assertEqual(parse_servers("a, tls://b:1"), wanted)
        self.assertEqual(parse_servers(["a", "tls://b:1/"]), wanted)
        self.assertRaises(ValueError, parse_servers, [])
        for incomplete in ("", "a,", ","):
            self.assertRaises(ValueError, parse_servers, incomplete)


class PoolTests(SynchronousTestCase):
    """The pool."""

    def pool(self, *hosts: str) -> ServerPool:
        """Return a pool in this order."""
        return ServerPool(parse_servers(hosts), None)

    def hosts(self, pool: ServerPool) -> list[str]:
        """Return the hosts in order."""
        return [server.host for server in pool.servers]

    def test_round_and_round(self) -> None:
        """Each in turn."""
        pool = self.pool("a", "b", "c")
        self.assertEqual([pool.take().host for _ in range(7)], list("abcabca"))
        self.assertEqual(len(pool), 3)

    def test_learn(self) -> None:
        """New ones are appended and returned; those that are no longer listed go."""
        pool = self.pool("nats://u:p@a", "b")
        current = pool.take()
        new = pool.learn(["c:1", "a:4222", "[::1]:2", "c:1"], current)
        self.assertEqual([server.address for server in new], ["c:1", "[::1]:2"])
        self.assertEqual(new[0].user, "u")
        self.assertEqual(new[0].password, "p")
        self.assertTrue(new[0].discovered)
        self.assertEqual(self.hosts(pool), ["a", "b", "c", "::1"])
        self.assertEqual(pool.learn(["c:1"], current), [])
        self.assertEqual(self.hosts(pool), ["a", "b", "c"])
        self.assertEqual(pool.learn([], current), [])
        self.assertEqual(self.hosts(pool), ["a", "b", "c"])

    def test_current_stays(self) -> None:
        """The server in use is kept also when it is no longer listed."""
        pool = self.pool("a")
        (found,) = pool.learn(["b:1"], pool.take())
        pool.learn(["c:1"], found)
        self.assertEqual(self.hosts(pool), ["a", "b", "c"])

    def test_odd_lists(self) -> None:
        """What is no server is ignored; too many are not taken."""
        pool = self.pool("a")
        odd: list[Any] = [None, {}, [], "x y", "b:0", "http://c", "d:1"]
        self.assertEqual([s.address for s in pool.learn(odd, pool.take())][-1], "d:1")
        pool.learn([f"h{number}:1" for number in range(10_000)], pool.take())
        self.assertEqual(len(pool), MAX_DISCOVERED)

    def test_tls_name(self) -> None:
        """T9: an address that a named server tells of is checked by that name."""
        pool = self.pool("tls://name")
        first, second = pool.learn(["10.0.0.1:1", "other:1"], pool.take())
        self.assertEqual((first.tls_name, first.scheme), ("name", "tls"))
        self.assertIs(second.tls_name, None)
        (third,) = pool.learn(["10.0.0.1:1", "other:1", "10.0.0.2:1"], first)
        self.assertEqual(third.tls_name, "name")

    def test_shuffled(self) -> None:
        """Configured ones once, discovered ones when they come; the others keep their place."""
        servers = parse_servers("a,b,c,d,e,f,g,h")
        pool = ServerPool(servers, random.Random(3))
        order = self.hosts(pool)
        self.assertNotEqual(order, list("abcdefgh"))
        self.assertEqual(sorted(order), list("abcdefgh"))
        urls = [f"x{number}:1" for number in range(8)]
        new = pool.learn(urls, servers[0])
        self.assertNotEqual([server.address for server in new], urls)
        self.assertEqual(self.hosts(pool)[:8], order)
