"""Subjects: grammar, length, matching; names of inboxes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.errors import BadSubject
from backplane.nats.validators import (
    MAX_SUBJECT,
    check_length,
    check_publish_subject,
    check_queue,
    check_subscribe_subject,
    subject_matches,
)

NEVER = ("", " ", "a b", "a..b", ".a", "a.", ".", "a\t", "a\r", "a\n", "a\x00", "a\x0b", "\ud800")
LITERAL = ("a", "a.b.c", "$SYS.x", "_INBOX.1", "a*b", "a>", "é", "A-b_c/d:e@f", "a.*b.>c", "\udc80")
PATTERNS = ("*", ">", "a.*", "*.a", "a.>", "*.>", "*.*")

tokens = st.lists(st.sampled_from(["a", "b", "*", "c>"]), min_size=1, max_size=4)


def matches(pattern: list[str], subject: list[str]) -> bool:
    """Say the same as ``subject_matches``, by recursion over the tokens."""
    if not pattern or not subject:
        return not pattern and not subject
    if pattern == [">"]:
        return True
    return pattern[0] in ("*", subject[0]) and matches(pattern[1:], subject[1:])


class CheckTests(SynchronousTestCase):
    """What may be published and subscribed to."""

    def test_subjects(self) -> None:
        """Wildcards only for subscriptions, empty tokens and blanks never."""
        for subject in LITERAL:
            check_publish_subject(subject)
            check_subscribe_subject(subject)
        for subject in PATTERNS:
            self.assertRaises(BadSubject, check_publish_subject, subject)
            check_subscribe_subject(subject)
        for bad in (*NEVER, None, 1, b"a"):
            self.assertRaises(BadSubject, check_publish_subject, bad)
            self.assertRaises(BadSubject, check_subscribe_subject, bad)
        self.assertRaises(BadSubject, check_subscribe_subject, "a.>.b")
        self.assertRaises(BadSubject, check_subscribe_subject, ">.a")

    def test_words(self) -> None:
        """The message names what is meant, shortened."""
        error = self.assertRaises(BadSubject, check_publish_subject, "a " * 500, "the reply")
        self.assertTrue(str(error).startswith("the reply 'a a"), error)
        self.assertLess(len(str(error)), 150)

    def test_queues(self) -> None:
        """Any word; no wildcards are known there."""
        for queue in ("g", "a.b", "*", ">", "é"):
            check_queue(queue)
        for bad in ("", "a b", "a\t1", "a\n", None, 3):
            self.assertRaises(BadSubject, check_queue, bad)

    def test_length(self) -> None:
        """Bytes count, of both together."""
        check_length("x" * MAX_SUBJECT, None)
        check_length("é" * 1000, "é" * 750)
        self.assertRaises(BadSubject, check_length, "x" * (MAX_SUBJECT + 1), None)
        self.assertRaises(BadSubject, check_length, "x" * MAX_SUBJECT, "y")

    @given(st.text(max_size=20))
    def test_no_smuggling(self, text: str) -> None:
        """P-fuzz: what passes is one word of a line."""
        try:
            check_publish_subject(text)
        except BadSubject:
            return
        data = b"PUB " + text.encode("utf-8", "surrogateescape") + b" 0\r\n"
        self.assertEqual((len(data.split()), data.count(b"\n"), data.count(b"\r")), (3, 1, 1))


class MatchTests(SynchronousTestCase):
    """Which subscriptions get a message."""

    def test_table(self) -> None:
        """``*`` is one whole token, ``>`` one or more at the end."""
        for pattern, yes, no in (
            ("a", ("a",), ("b", "a.b", "A")),
            ("a.*", ("a.b", "a.*"), ("a", "a.b.c", "b.a")),
            ("*.b", ("a.b",), ("b", "a.c", "a.b.b")),
            ("a.>", ("a.b", "a.b.c"), ("a", "b.a")),
            (">", ("a", "a.b"), ()),
            ("a*", ("a*",), ("ab",)),
            ("*.*.>", ("a.b.c", "a.b.c.d"), ("a.b",)),
        ):
            for subject in yes:
                self.assertTrue(subject_matches(pattern, subject), (pattern, subject))
            for subject in no:
                self.assertFalse(subject_matches(pattern, subject), (pattern, subject))

    @given(tokens, st.booleans(), tokens)
    def test_against_recursion(self, pattern: list[str], tail: bool, subject: list[str]) -> None:
        """Another way to say it gives the same."""
        if tail:
            pattern = [*pattern, ">"]
        self.assertEqual(
            subject_matches(".".join(pattern), ".".join(subject)), matches(pattern, subject)
        )
