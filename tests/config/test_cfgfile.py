"""Lines of Choria's files: what is reported of those that do not do what they seem to do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.config.client import load_client_config
from backplane.errors import ConfigError
from tests.config.test_client import SETTINGS, load


class Lines(SynchronousTestCase):
    """What the lines mean, and which are reported."""

    def warning(self, text: str | bytes, **options: Any) -> str:
        """Return the only warning of a file."""
        config = load(text, **options)
        self.assertEqual(len(config.warnings), 1, config.warnings)
        return config.warnings[0]

    def test_blanks(self) -> None:
        """Blanks, CRLF and a byte-order mark just work."""
        config = load(
            b"\xef\xbb\xbf  plugin.choria.middleware_hosts = a:4222, b:4222 \r\n\tttl\t=\t5\r\n"
        )
        self.assertEqual(config.middleware_hosts, ("a:4222", "b:4222"))
        self.assertEqual((config.ttl, config.warnings), (5, ()))

    def test_ports(self) -> None:
        """A bad address is an error that names file, line and entry."""
        for port in ("42222x", "0", "70000", ""):
            error = self.assertRaises(
                ConfigError,
                load,
                f"# x\nplugin.choria.middleware_hosts = a:4222, nats://u:sesame@b:{port}\n",
            )
            (problem,) = error.problems
            self.assertEqual((problem.path, problem.line), ("/etc/choria/client.conf", 2))
            self.assertEqual(problem.key, "plugin.choria.middleware_hosts[1]")
            self.assertIn(f"nats://b:{port}", problem.found)
            self.assertNotIn("sesame", str(error))
        # A later line replaces it.
        text = "plugin.choria.middleware_hosts = a:0\nplugin.choria.middleware_hosts = b\n"
        self.assertEqual(load(text).middleware_hosts, ("b",))

    def test_reported(self) -> None:
        """Lines that do not do what they seem to do are reported with their place."""
        for text, part in (
            ("ttl = 1.5", "'1.5'"),
            ("ttl = 0", "'0'"),
            ("ttl = -5", "'-5'"),
            ("ttl =", "no value"),
            ("ttl", "key = value"),
            ("= 5", "key = value"),
            ("[main]", "key = value"),
            ("discovery_timeout = 2s", "'2s'"),
            ("plugin.choria.network.connect_timeout = 1 hour", "'1 hour'"),
            ("color = off", "it means no"),
            ("plugin.choria.use_srv = maybe", "it means no"),
            ("loglevel = banana", "it means warn"),
            ("collectives = a,", "empty name"),
            ("libdir = /a:", "empty name"),
            ("libdir = ~/lib", "not expanded"),
            ("plugin.nats.credentials = ~/x.creds", "not expanded"),
            ("logfile = ~bob/x", "home directory"),
            ("ttl2 = 5 # seconds", "comment"),
            (b"identity = caf\xe9", "UTF-8"),
            ("x = " + "z" * 70_000, "64 KiB"),
        ):
            data = text if isinstance(text, bytes) else text.encode()
            warning = self.warning(b"# first\n" + data + b"\n")
            self.assertTrue(warning.startswith("/etc/choria/client.conf:2: "), warning)
            self.assertIn(part, warning)

    def test_secrets_are_not_reported(self) -> None:
        """No warning and no repr shows a password."""
        config = load(
            "plugin.nats.user = u\nplugin.nats.pass = sesame # x\nplugin.nats.pass\nsesame\n"
            "plugin.choria.middleware_hosts = nats://u:sesame@b\n"
        )
        self.assertEqual(config.password, "sesame # x")
        self.assertNotIn("sesame", repr(config))

    def test_environment(self) -> None:
        """Variables count where the option is written, and are reported where not."""
        env = {"MCOLLECTIVE_NATS_PASSWORD": "sesame"}
        self.assertEqual(load("plugin.nats.pass = p\n", env=env).password, "sesame")
        warning = self.warning("ttl = 5\n", env=env)
        self.assertIn("MCOLLECTIVE_NATS_PASSWORD", warning)
        self.assertNotIn("sesame", warning)

    def test_plugin_folder(self) -> None:
        """In plugin.d only choria.cfg sets options; the others are reported."""
        folder = "/etc/choria/plugin.d"
        config = load(
            "plugin.choria.middleware_hosts = main\n",
            more={
                f"{folder}/choria.cfg": "middleware_hosts = dotd\nuse_srv = 0\n",
                f"{folder}/nats.cfg": "user = u\n",
                f"{folder}/foo.cfg": "x = 1\n",
                f"{folder}/choria.conf": "middleware_hosts = conf\n",
            },
        )
        self.assertEqual(config.middleware_hosts, ("dotd",))
        self.assertEqual((config.user, config.use_srv), (None, False))
        self.assertEqual(config.raw["plugin.foo.x"], "1")
        self.assertEqual(
            [warning.split(":")[0] for warning in config.warnings],
            [f"{folder}/choria.conf", f"{folder}/nats.cfg"],
        )

    def test_home(self) -> None:
        """Below the home directory plugin.d is not read; beside it, it is."""
        more = {"/home/ann/plugin.d/choria.cfg": "use_srv = 0\n"}
        self.assertTrue(load("ttl = 5\n", path="/home/ann/.choriarc", more=more).use_srv)
        for home in ("/home/an", "/", ""):
            config = load("ttl = 5\n", path="/home/ann/.choriarc", more=more, home=home)
            self.assertFalse(config.use_srv)

    def test_projects(self) -> None:
        """choria.conf counts from the root down, the nearest last."""
        more = {
            "/choria.conf": "ttl = 1\ncolor = 0\n",
            "/srv/choria.conf": "ttl = 2\nidentity = a\n",
            "/srv/x/choria.conf": "ttl = 3\n",
            "/srv/x/y/choria.conf": "ttl = 4\n",
        }
        config = load("ttl = 9\nidentity = z\n", more=more, cwd="/srv/x")
        self.assertEqual((config.ttl, config.identity, config.color), (3, "a", False))
        self.assertEqual(
            config.files,
            ("/etc/choria/client.conf", "/choria.conf", "/srv/choria.conf", "/srv/x/choria.conf"),
        )

    def test_unreadable_further_file(self) -> None:
        """A further file that cannot be read is reported and the rest goes on."""

        def read(path: str) -> bytes:
            if path == "/srv/choria.conf":
                raise PermissionError(13, "Permission denied", path)
            if path == "/c.conf":
                return b"ttl = 5\n"
            raise FileNotFoundError(2, "No such file or directory", path)

        config = load_client_config("/c.conf", home="", cwd="/srv", env={}, read=read)
        self.assertEqual(config.ttl, 5)
        self.assertEqual(len(config.warnings), 1)
        self.assertIn("/srv/choria.conf: cannot be read (Permission denied)", config.warnings[0])

    @given(
        st.binary(max_size=80)
        | st.lists(
            st.tuples(
                st.sampled_from([*SETTINGS, "plugin.security.provider", "x"]), st.text(max_size=12)
            ),
            max_size=6,
        ).map(
            lambda pairs: "\n".join(f"{key} = {value}" for key, value in pairs).encode(
                "utf-8", "surrogatepass"
            )
        )
    )
    def test_anything(self, data: bytes) -> None:
        """Whatever stands in the file, nothing but a ConfigError is raised."""
        try:
            load(data)
        except ConfigError as error:
            str(error).encode()
