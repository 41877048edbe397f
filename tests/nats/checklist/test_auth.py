"""A: logging in, and what a server says of those who may not."""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from backplane.nats.client import (
    Connected,
    ConnectFailed,
    Disconnected,
    ServerError,
)
from backplane.nats.credentials import (
    CredsFile,
    JWTFile,
    NKey,
    SeedFile,
    TextFile,
    Token,
    UserJWT,
    UserPassword,
)
from backplane.nats.errors import BadCredentials, ConnectionFailed, PermissionDenied
from backplane.nats.nkeys import Owner, encode_seed
from backplane.testing.natsserver import NatsServer
from tests.nats.checklist.jwts import (
    ACCOUNT,
    USER,
    creds,
    operator_config,
    public_of,
    user_jwt,
)
from tests.nats.checklist.scripted import ScriptedCase
from tests.nats.checklist.servers import R0, RNOAUTH, RPERM, RTOK, RUSER, RealCase

RNKEY = f"authorization {{ users: [ {{ nkey: {public_of(USER)} }} ] }}"

VIOLATION = "Authorization Violation"


class LoginCase(RealCase):
    """Logging in to one server, rightly and wrongly."""

    def file(self, text: str, name: str = "secret") -> str:
        """Write a file in the test's own folder."""
        if not hasattr(self, "folder"):
            self.folder = self.mktemp()
            os.makedirs(self.folder)
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        return path

    async def let_in(self, server: NatsServer | str, **options: Any) -> None:
        """See that a client can talk, and stop it."""
        client = await self.connected(server, **options)
        got = self.collect(client, "a")
        client.publish("a", b"x")
        await client.flush()
        self.assertEqual(got, [b"x"])
        await client.stopService()

    async def kept_out(self, server: NatsServer | str, words: str, **options: Any) -> None:
        """See that a client is refused, in such words, and goes on trying."""
        self.events.clear()
        client = self.client(server, **options)
        client.startService()
        await self.until(lambda: self.of(ConnectFailed))
        self.assertIn(words, str(self.of(ConnectFailed)[0].reason))
        self.assertEqual(self.of(Connected), [])
        waiting = client.when_connected()
        self.assertFalse(waiting.called)
        waiting.addErrback(lambda _: None)
        await client.stopService()

    def assert_hidden(self, *secrets: str) -> None:
        """See that no secret is in an event, a log line, or the client."""
        shown = [*map(str, self.events), *map(repr, self.events), *self.lines(LogLevel.debug)]
        shown += [str(event) for event in self.log_events]
        shown += [str(event.reason) for event in self.of(ConnectFailed)]
        for secret in secrets:
            self.assertNotIn(secret, "\n".join(shown))


class PasswordTests(LoginCase):
    """Users, passwords and tokens."""

    async def test_A1_password(self) -> None:
        """Right, wrong, none; from the address, with an escaped one; from a file."""
        server = await self.server("authorization { user: u, password: 'p@s5word' }")
        place = f"127.0.0.1:{server.port}"
        await self.let_in(server, user="u", password="p@s5word")
        await self.let_in(f"nats://u:p%40s5word@{place}")
        file = TextFile(self.file("p@s5word\n"))
        await self.let_in(server, credentials=UserPassword("u", file))
        await self.kept_out(server, VIOLATION, user="u", password="wr0ng")
        await self.kept_out(server, VIOLATION)
        await self.kept_out(f"nats://u:wr0ng@{place}", VIOLATION)
        await self.let_in(f"nats://u:wr0ng@{place}", user="u", password="p@s5word")
        self.assert_hidden("p@s5word", "p%40s5word", "wr0ng")

    async def test_A1_token(self) -> None:
        """Right, wrong, none; from the address; from a callable, asked at each connect."""
        server = await self.server("authorization { token: 's3cret' }")
        await self.let_in(server, token="s3cret")
        await self.let_in(f"nats://s3cret@127.0.0.1:{server.port}")
        await self.kept_out(server, VIOLATION, token="wr0ng")
        await self.kept_out(server, VIOLATION)
        asked: list[str] = []

        def ask() -> str:
            asked.append("wr0ng" if not asked else "s3cret")
            return asked[-1]

        client = self.client(server, credentials=Token(ask))
        client.startService()
        await self.until(lambda: asked)
        await self.until(lambda: self.of(ConnectFailed))
        client.force_reconnect()
        await client.when_connected()
        client.force_reconnect()
        await self.until(lambda: len(asked) == 3)
        await client.when_connected()
        self.assert_hidden("s3cret", "wr0ng")

    def test_A1_hidden(self) -> None:
        """Nothing that can be printed has a secret."""
        client = self.client(
            "nats://u:s3cret@b:1", user="u", password="0ther", name="n", retry=False
        )
        parts = [client, client._login, client._pool.servers, client.options(), vars(client)]
        for secret in ("s3cret", "0ther"):
            self.assertNotIn(secret, repr(parts))

    async def test_A6_no_auth_user(self) -> None:
        """A server with a default user does not ask; who we are is said all the same."""
        server = await self.server(RNOAUTH)
        await self.let_in(server, user="c", password="d")
        await self.let_in(server)
        await self.kept_out(server, VIOLATION, user="c", password="wr0ng")

    async def test_A7_new_password(self) -> None:
        """One that was changed in the server keeps us out until it is changed here."""
        server = await self.server("authorization { user: u, password: 0ld }")
        path = self.file("0ld")
        client = await self.connected(server, credentials=UserPassword("u", TextFile(path)))
        server.reload("authorization { user: u, password: new0ne }")
        await self.until(lambda: self.of(Disconnected))
        await self.until(lambda: self.of(ConnectFailed))
        self.assertIn(VIOLATION, str(self.of(ConnectFailed)[0].reason))
        self.assertFalse(client.is_connected)
        self.file("new0ne\n")
        client.force_reconnect()
        await client.when_connected()
        self.assert_hidden("0ld", "new0ne")


class KeyTests(LoginCase):
    """Keys, and JWTs with keys."""

    async def test_A2_nkey(self) -> None:
        """The right seed, with a newline, in a file; another one; what is no user's seed."""
        server = await self.server(RNKEY)
        await self.let_in(server, credentials=NKey(USER))
        await self.let_in(server, credentials=NKey(f"{USER}\n"))
        await self.let_in(server, credentials=NKey(SeedFile(self.file(f"{USER}\r\n"))))
        other = encode_seed(Owner.USER, bytes(range(32)))
        await self.kept_out(server, VIOLATION, credentials=NKey(other))
        plain = await self.server(R0)
        await self.kept_out(plain, "server that does not support nkeys", credentials=NKey(USER))
        broken = f"{USER[:-1]}{'A' if USER[-1] != 'A' else 'B'}"
        for seed, words in ((broken, "check sum"), (ACCOUNT, "the seed of an account")):
            error = self.assertRaises(BadCredentials, NKey, seed)
            self.assertIn(words, str(error))
            file = NKey(SeedFile(self.file(seed)))
            self.assertIn(words, str(self.assertRaises(BadCredentials, file.check)))
            await self.kept_out(server, words, credentials=file)
        self.assert_hidden(USER, other, broken, ACCOUNT)

    async def test_A3_files(self) -> None:
        """A creds file, two files, CR LF, without fences."""
        server = await self.server(operator_config())
        token = user_jwt()
        both = creds(token, USER)
        await self.let_in(server, credentials=CredsFile(self.file(both)))
        await self.let_in(server, credentials=CredsFile(self.file(both.replace("\n", "\r\n"))))
        two = UserJWT(JWTFile(self.file(token, "jwt")), SeedFile(self.file(USER, "seed")))
        await self.let_in(server, credentials=two)
        await self.let_in(server, credentials=UserJWT(JWTFile(self.file(both)), lambda: USER))
        bearer = user_jwt(nats={"bearer_token": True})
        await self.let_in(server, credentials=CredsFile(self.file(bearer)))
        await self.kept_out(server, VIOLATION)
        stranger = user_jwt(issuer=encode_seed(Owner.ACCOUNT, bytes(32)))
        await self.kept_out(
            server, VIOLATION, credentials=CredsFile(self.file(creds(stranger, USER)))
        )
        self.assert_hidden(USER, token, bearer, stranger)

    async def test_A3_mistakes(self) -> None:
        """Missing, unreadable, a directory, without seed: told before the start, with the path."""
        folder = self.mktemp()
        os.makedirs(folder)
        token = user_jwt()
        for path, words in (
            (os.path.join(folder, "none.creds"), "No such file"),
            (folder, "Is a directory"),
            (self.file(token), "without one"),
            (self.file(creds(token, ACCOUNT), "other"), "the seed of an account"),
            (self.file(USER, "seed"), "found a seed, wanted the JWT"),
            (self.file("", "empty"), "an empty file"),
        ):
            way = CredsFile(path)
            error = self.assertRaises(BadCredentials, way.check)
            self.assertIn(words, str(error))
            self.assertIn(path, str(error))
        server = await self.server(operator_config())
        missing = CredsFile(os.path.join(folder, "none.creds"))
        await self.kept_out(server, "none.creds: found No such file", credentials=missing)
        client = self.client(server, credentials=missing, retry=False)
        client.startService()
        try:
            await client.when_connected()
        except ConnectionFailed as error:
            self.assertEqual(error.phase, "login")
        else:
            self.fail("it connected")
        self.assert_hidden(USER, token)

    async def test_A4_expired(self) -> None:
        """A JWT that ends is followed by a fresh one; the same one is tried slowly."""
        server = await self.server(operator_config())
        ends = int(time.time()) + 3
        given = [user_jwt(exp=ends), user_jwt(name="fresh")]
        client = await self.connected(server, credentials=UserJWT(lambda: given[0], USER))
        old = self.client(server, credentials=UserJWT(user_jwt(exp=ends), USER), name="old")
        old.remove_listener(self.events.append)
        ended: list[Any] = []
        old.add_listener(ended.append)
        old.startService()
        await old.when_connected()
        del given[0]
        await self.until(lambda: len(self.of(Connected)) == 2)
        said = {(event.kind, event.text) for event in self.of(ServerError)}
        self.assertEqual(said, {("auth", "User Authentication Expired")})
        self.assertIn("User Authentication Expired", str(self.of(Disconnected)[0].reason))
        self.assertTrue(client.is_connected)
        # In its last second the server may let it in once more; the try after that comes slowly.
        await self.until(lambda: any(isinstance(event, ConnectFailed) for event in ended), 60.0)
        self.assertIn("User Authentication Expired", str(ended))
        self.assertFalse(old.is_connected)
        # The next try is as far away as it gets.
        wait = old._dialer._wait
        assert wait is not None
        clock: Any = reactor
        self.assertGreater(wait.getTime() - clock.seconds(), 8.0)

    async def test_A4_log(self) -> None:
        """What keeps us out for long is one line in the log, and not one for each try."""
        server = await self.server(operator_config())
        over = UserJWT(user_jwt(exp=time.time() - 60), USER)
        client = self.client(server, credentials=over)
        client.startService()
        for tries in range(1, 6):
            await self.until(lambda tries=tries: len(self.of(ConnectFailed)) >= tries)  # type: ignore[misc]
            client.force_reconnect()
        warnings = self.lines(LogLevel.warn)
        self.assertEqual(len(warnings), 1, warnings)
        self.assertIn(VIOLATION, warnings[0])

    async def test_A4_revoked(self) -> None:
        """An account that revokes a user throws him out, and keeps him out."""
        server = await self.server(operator_config())
        await self.connected(server, credentials=UserJWT(user_jwt(), USER))
        revocations = {public_of(USER): int(time.time()) + 1}
        server.reload(operator_config({"revocations": revocations}))
        await self.until(lambda: self.of(ConnectFailed))
        self.assertIn("Authentication", str(self.of(Disconnected)[0].reason))
        self.assertIn("Revoked", self.of(ServerError)[0].text)


class TimeoutTests(LoginCase, ScriptedCase):
    """Clients that the server waits for in vain."""

    async def test_A5_timeout(self) -> None:
        """What keeps CONNECT from the server is reported as the server calls it."""
        server = await self.server("authorization { token: t, timeout: 1 }")
        proxy = await self.scripted(b"", answering=False)
        client = self.client(proxy.url, token="t", connect_timeout=10.0)
        client.startService()
        await self.until(lambda: proxy.ends)

        class Back(Protocol):
            """The server's side; what the client says does not come through."""

            def dataReceived(self, data: bytes) -> None:
                proxy.ends[0].send(data)

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                proxy.ends[0].hang_up()

        back: Any = HostnameEndpoint(reactor, "127.0.0.1", server.port)
        await back.connect(Factory.forProtocol(Back))
        await self.until(lambda: proxy.ends[0].connects)
        await self.until(lambda: self.of(ConnectFailed))
        self.assertEqual(str(self.of(ConnectFailed)[0].reason), "Authentication Timeout")


class RightsTests(LoginCase):
    """What a user may not do."""

    async def test_A8_violations(self) -> None:
        """One event each, with subject and queue; everything else goes on."""
        server = await self.server(RPERM)
        client = await self.connected(server, user="u", password="p")
        good = self.collect(client, "ok.a")
        client.publish("forbidden.a", b"")
        bad = client.subscribe("secret.a", self.fail)
        await client.flush()
        client.subscribe("q", self.fail, queue="other")
        work = self.collect(client, "q", queue="work")
        client.publish("ok.a", b"1")
        await client.flush()
        await self.until(lambda: len(self.of(ServerError)) == 3)
        found = [(each.kind, each.subject, each.queue) for each in self.of(ServerError)]
        self.assertEqual(
            found,
            [
                ("publish", "forbidden.a", None),
                ("subscribe", "secret.a", None),
                ("subscribe", "q", "other"),
            ],
        )
        self.assertIsNotNone(bad.denied)
        self.assertEqual((good, work), ([b"1"], []))
        self.assertEqual(self.of(Disconnected), [])
        self.assertTrue(client.is_connected)

    async def test_A9_taken_away(self) -> None:
        """A right that is taken away is a dead subscription, alive again once it is back."""
        server = await self.server(RPERM)
        client = await self.connected(server, user="u", password="p")
        got: list[bytes] = []
        other = self.collect(client, "_INBOX.x")
        watched = client.subscribe("ok.a", lambda message: got.append(message.payload))
        await client.flush()
        server.reload(RPERM.replace('subscribe: ["ok.>", ', "subscribe: ["))
        await self.until(lambda: watched.denied is not None)
        self.assertEqual(self.of(ServerError)[0].subject, "ok.a")
        client.publish("ok.a", b"lost")
        client.publish("_INBOX.x", b"alive")
        await client.flush()
        self.assertEqual((got, other), ([], [b"alive"]))
        server.reload(RPERM)
        sender = await self.connected(server, user="u", password="p")
        client.force_reconnect()
        await self.until(lambda: len(self.of(Connected)) == 3)
        await client.flush()
        self.assertIsNone(watched.denied)
        sender.publish("ok.a", b"again")
        await sender.flush()
        await client.flush()
        self.assertEqual(got, [b"again"])

    async def test_A10_request(self) -> None:
        """A request to where we may not publish fails at once, and says why."""
        server = await self.server(RPERM)
        client = await self.connected(server, user="u", password="p")
        clock: Any = reactor
        began = clock.seconds()
        try:
            await client.request("forbidden.a", b"", timeout=50.0)
        except PermissionDenied as error:
            self.assertEqual(error.subject, "forbidden.a")
        else:
            self.fail("it was answered")
        self.assertLess(clock.seconds() - began, 40.0)
        self.assertTrue(client.is_connected)


class SmallTests(LoginCase):
    """The recipes as they stand."""

    async def test_A1_recipes(self) -> None:
        """The plain ones of the checklist."""
        await self.let_in(await self.server(RUSER), user="u", password="p")
        await self.let_in(await self.server(RTOK), token="t")
