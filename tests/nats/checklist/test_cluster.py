"""R7 and R9 to R12: a cluster of three."""

from __future__ import annotations

import random
from typing import Any

from backplane.nats.client import (
    Disconnected,
    Discovered,
    LameDuck,
    Message,
    Moved,
    NatsClient,
)
from backplane.testing.natsserver import NatsServer
from tests.nats.checklist.servers import RealCase, cluster_config, free_ports, routed


def where(client: NatsClient, servers: list[NatsServer]) -> NatsServer:
    """Return the server that a client is connected to."""
    return next(server for server in servers if server.url == client.connected_url)


class ClusterTests(RealCase):
    """Clients of a cluster."""

    def pool(self, client: NatsClient) -> set[str]:
        """Return the servers that a client would try."""
        return set(client.options()["servers"])

    async def heard(self, client: NatsClient, other: NatsClient, subject: str = "x") -> None:
        """Wait until what another client publishes is heard by this one."""
        got: list[bytes] = []
        subscription = client.subscribe(subject, lambda message: got.append(message.payload))
        await client.flush()

        def asked() -> bool:
            if other.is_connected:
                other.publish(subject, b"?")
            return bool(got)

        await self.until(asked)
        subscription.unsubscribe()

    async def test_R7_spread(self) -> None:
        """32 clients of three servers, one of which is killed: the others share them."""
        servers = await self.cluster()
        clients = [
            await self.connected(servers, rng=random.Random(seed), name=f"c{seed}")
            for seed in range(32)
        ]
        victim = servers[0]
        lost = [client for client in clients if where(client, servers) is victim]
        stayed = {client: client.connected_url for client in clients if client not in lost}
        self.assertTrue(4 <= len(lost) <= 20, len(lost))
        victim.kill()
        await self.until(
            lambda: all(client.is_connected and client.counts()["reconnects"] for client in lost)
        )
        counts = [
            sum(client.connected_url == server.url for client in clients) for server in servers[1:]
        ]
        self.assertEqual(sum(counts), 32)
        self.assertTrue(all(8 <= count <= 24 for count in counts), counts)
        self.assertEqual({client: client.connected_url for client in stayed}, stayed)
        self.assertEqual({client.counts()["reconnects"] for client in lost}, {1})

    async def test_R9_pool(self) -> None:
        """The pool grows and shrinks with the cluster; what was configured stays."""
        first, second = await self.cluster(2)
        client = await self.connected(first)
        await self.until(lambda: len(self.pool(client)) == 2)
        # Servers take back what they have just told while their routes settle, and tell it again.
        self.assertEqual(set(self.of(Discovered)), {Discovered(second.url)})
        (port,) = free_ports(1)
        third = await self.server(cluster_config("n2", port, self.routes))
        await self.until(lambda: third.url in self.pool(client))
        self.assertEqual(set(self.of(Discovered)), {Discovered(second.url), Discovered(third.url)})
        second.stop()
        await self.until(lambda: second.url not in self.pool(client))
        self.assertEqual(self.pool(client), {first.url, third.url})
        await self.until(lambda: routed(third, 2))
        first.stop()
        await self.until(lambda: client.connected_url == third.url)
        await self.turn(0.1)
        self.assertEqual(self.pool(client), {first.url, third.url})
        self.assertEqual(len(self.of(Disconnected)), 1)

    async def test_R10_one_after_the_other(self) -> None:
        """The one in use is killed, then the next: traffic goes on, across servers, too."""
        servers = await self.cluster()
        client = await self.connected(servers[0], rng=random.Random(7))
        other = await self.connected(servers[2], name="other", rng=random.Random(8))
        await self.until(lambda: len(self.pool(client)) == 3)
        got: list[bytes] = []
        client.subscribe("a", lambda message: got.append(message.payload))
        await self.heard(client, other)
        left = list(servers)
        for killed in (1, 2):
            victim = where(client, left)
            left.remove(victim)
            victim.kill()
            await self.until(
                lambda: all(
                    each.is_connected and each.connected_url in [server.url for server in left]
                    for each in (client, other)
                )
            )
            await self.heard(client, other)
            other.publish("a", b"%d" % killed)
            while got[-1:] != [b"%d" % killed]:
                await self.turn(0.01)
        self.assertEqual(got, [b"1", b"2"])
        self.assertEqual(client.connected_url, left[0].url)

    async def test_R11_off(self) -> None:
        """Without gossip the pool is what was configured."""
        servers = await self.cluster()
        client = await self.connected(servers[0], gossip=False)
        await client.flush()
        await client.flush()
        self.assertEqual(len(client.server_info["connect_urls"]), 3)
        self.assertEqual(self.pool(client), {servers[0].url})
        self.assertEqual(self.of(Discovered), [])

    async def test_R11_not_advertised(self) -> None:
        """A cluster that tells nothing changes nothing."""
        servers = await self.cluster(2, more="no_advertise: true")
        client = await self.connected(servers[0])
        await client.flush()
        await client.flush()
        self.assertEqual(self.pool(client), {servers[0].url})
        self.assertEqual(self.of(Discovered), [])

    async def test_R12_lame_duck(self) -> None:
        """The client moves before it is cut off; its queue group loses nothing."""
        servers = await self.cluster()
        client = await self.connected(servers[0], rng=random.Random(9))
        other = await self.connected(servers[1], name="other", gossip=False)
        events: list[Any] = []
        client.add_listener(events.append)
        await self.until(lambda: len(self.pool(client)) == 3)
        got: list[int] = []

        def handler(message: Message) -> None:
            got.append(int(message.payload))

        for _ in range(2):
            client.subscribe("jobs", handler, "workers")
        other.subscribe("jobs", handler, "workers")
        await self.heard(client, other)
        sent = 0

        def publish() -> None:
            nonlocal sent
            other.publish("jobs", b"%d" % sent)
            sent += 1

        for _ in range(50):
            publish()
            await self.turn(0.001)
        servers[0].lame_duck()
        while not any(isinstance(event, Moved) for event in events):
            publish()
            await self.turn(0.001)
        for _ in range(200):
            publish()
            await self.turn(0.001)
        self.assertTrue(servers[0].running)
        await self.until(lambda: set(got) == set(range(sent)))
        names = [type(event).__name__ for event in events]
        self.assertEqual(names.count("LameDuck"), 1)
        self.assertEqual(names.count("Moved"), 1)
        self.assertEqual(names.count("Disconnected"), 0)
        self.assertEqual([event.url for event in self.of(LameDuck)], [servers[0].url])
        self.assertNotEqual(client.connected_url, servers[0].url)
        self.assertEqual(client.statistics().moves, 1)
