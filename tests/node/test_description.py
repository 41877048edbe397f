"""Errors as text: what is shown of them, and what never is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import masking
from backplane.node.description import describe

SECRET = "hunter2"

NAMES = sorted({*masking._SECRET, *masking._SECRET_ENDS, *masking._SECRET_PAIRS})


SIGNS = (
    *("=", ":", " ", "'", '"', "{", "}", ",", ";", "&", "?", "://", "@", "_", "-", "\n"),
    *("user", "bearer", "db", SECRET, SECRET, SECRET),
)


class Unprintable(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError


class ShownTests(SynchronousTestCase):
    """What is shown."""

    def test_type_and_text(self) -> None:
        for error, text in (
            (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError: [Errno 111] refused"),
            (ValueError(), "ValueError"),
            (KeyError("db"), "KeyError: 'db'"),
            (Unprintable(), "Unprintable"),
            (OSError("port 5432: no route"), "OSError: port 5432: no route"),
            (OSError("http://db:80/a@b is away"), "OSError: http://********@b is away"),
            (OSError("see https://db/a mail@b"), "OSError: see https://db/a mail@b"),
            (OSError("a :// b@c"), "OSError: a :// b@c"),
            (RuntimeError("one\n two\t\x1b[31m\u202e"), "RuntimeError: one two \\x1b[31m\\u202e"),
            (SystemExit(3), "SystemExit: 3"),
            (RuntimeError("the cache: KeyError: 'x'"), "RuntimeError: the cache: KeyError: 'x'"),
        ):
            self.assertEqual(describe(error), text)

    def test_bounded(self) -> None:
        shown = describe(ValueError("x" * 10**6))
        self.assertEqual(shown, f"ValueError: {'x' * 300}… (1200 characters)")

    def test_failure(self) -> None:
        """A failure is described as its error is."""
        error = OSError("redis://:hunter2@cache is away")
        self.assertEqual(describe(Failure(error)), describe(error))


class SecretTests(SynchronousTestCase):
    """What never is."""

    def check(self, text: str) -> None:
        for found in (describe(ValueError(text)), describe(RuntimeError(f"it says {text!r} now"))):
            self.assertNotIn(SECRET, found, text)

    def test_known(self) -> None:
        for text in (
            "redis://:hunter2@cache is away",
            "cannot open postgres://app:hunter2@db:5432/x?password=hunter2",
            "amqp://app:slash/hunter2@mq",
            "amqp://app:at@hunter2@mq",
            "host=db password=hunter2 dbname=x",
            "Server=db;Pwd=hunter2;Database=x",
            "{'api_key': 'hunter2', 'user': 'x'}",
            '{"apiToken" : "hunter2"}',
            "Authorization: Bearer hunter2",
            "Authorization: Basic aGVsbG8= hunter2",
            "db.password = hunter2",
            "settings['password']=hunter2",
            "PASSWORD='with blanks hunter2'",
            "a=b token=x hunter2",
            "--client-secret=hunter2",
            "https://example.net/?a=b&access_token=hunter2",
            "headers: X-Api-Key: hunter2",
        ):
            self.check(text)

    def test_names(self) -> None:
        """Every name that is masked in facts is one here, however it is written."""
        for name in NAMES:
            words = name.split()
            for joined in ("_".join(words), "-".join(words), "".join(map(str.title, words))):
                for text in (f"{joined}=hunter2", f"x {joined.upper()} : hunter2"):
                    self.check(text)

    @settings(deadline=None, max_examples=400)
    @given(st.sampled_from(NAMES), st.lists(st.sampled_from([*NAMES, *SIGNS]), max_size=12))
    def test_nothing_after_a_name(self, name: str, parts: list[str]) -> None:
        """Once a secret is named, nothing of what comes is shown."""
        self.check(f"{name.replace(' ', '_')}=" + "".join(parts) + SECRET)
