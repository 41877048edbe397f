"""Q5: names of inboxes, and what they begin with."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from backplane.nats.errors import BadSubject
from backplane.nats.inbox import check_prefix, new_inbox, new_token


class InboxTests(SynchronousTestCase):
    def test_tokens(self) -> None:
        """Letters and digits, as many as asked for, all of them about as often."""
        made = [new_token() for _ in range(2000)]
        self.assertEqual(len(set(made)), 2000)
        self.assertEqual({len(token) for token in made}, {22})
        text = "".join(made)
        self.assertTrue(text.isascii() and text.isalnum())
        counts = [text.count(letter) for letter in set(text)]
        self.assertEqual(len(counts), 62)
        # 710 of each on average, with a deviation of 26.
        self.assertTrue(min(counts) > 500 and max(counts) < 920, counts)

    def test_source(self) -> None:
        """They are made of random bytes and nothing else."""
        self.assertEqual(new_token(lambda count: b"\x00" * count), "0" * 22)
        asked: list[int] = []

        def source(count: int) -> bytes:
            asked.append(count)
            return b"\xff" * count

        self.assertEqual(len(new_token(source)), 22)
        self.assertTrue(asked[0] * 8 > 22 * 6 + 16)

    def test_prefix(self) -> None:
        """Any subject without wildcards."""
        for prefix in ("_INBOX", "a", "acme.reply.x", "$a", "é"):
            self.assertEqual(check_prefix(prefix), prefix)
            self.assertTrue(new_inbox(prefix).startswith(prefix + "."))
        for wrong in ("", "a.", ".a", "a..b", "a b", "*", "a.>", "a*b", "a>", "x" * 3450, None, 1):
            self.assertRaises(BadSubject, check_prefix, wrong)
