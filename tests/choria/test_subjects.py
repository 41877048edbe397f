"""Subjects, and which of them an answer may go to."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import subjects
from backplane.choria.subjects import MAX_SUBJECT, check_reply_to


class SubjectTests(SynchronousTestCase):
    """The names that Choria gives to things on NATS."""

    def test_names(self) -> None:
        """Each kind of message has the subject that real peers use."""
        self.assertEqual(
            [
                subjects.broadcast("app_backplane", "discovery"),
                subjects.service("app_backplane", "orders"),
                subjects.node("app_backplane", "app1.example.net"),
                subjects.event("startup", "backplane"),
                subjects.federation("production"),
            ],
            [
                "app_backplane.broadcast.agent.discovery",
                "app_backplane.broadcast.service.orders",
                "app_backplane.node.app1.example.net",
                "choria.lifecycle.event.startup.backplane",
                "choria.federation.production.federation",
            ],
        )

    def test_reply(self) -> None:
        """A caller awaits replies under the MD5 of his id, and may."""
        request = "1b3a5f2c8d0e4f6a9b7c1d2e3f405162"
        subject = subjects.reply("app_backplane", "choria=sre.choria", request)
        name = "cb504717a797947060cbb33d3b20229e"
        self.assertEqual(subject, f"app_backplane.reply.{name}.{request}")
        self.assertIsNone(check_reply_to(subject))


class ReplyToTests(SynchronousTestCase):
    """A reply-to comes from a stranger and is published to with the service's rights."""

    def refused(self, subject: str, reason: str, extras: tuple[str, ...] = ()) -> None:
        """``subject`` is refused for ``reason``, in a short text without the subject."""
        found = check_reply_to(subject, extras)
        self.assertIsNotNone(found, subject[:100])
        self.assertIn(reason, found or "")
        self.assertLess(len(found or ""), 60)

    def test_lawful(self) -> None:
        """Reply subjects of any collective, and the collective side of a federation."""
        for subject in (
            "app_backplane.reply.cb504717a797947060cbb33d3b20229e.1b3a5f2c8d0e4f6a9b7c1d2e3f405162",
            "mcollective.reply.x",
            "mcollective.reply.client1.example.net.999.1",
            "m.reply.a*b.c>",
            "é.reply.ü",
            "choria.federation.production.collective",
        ):
            self.assertIsNone(check_reply_to(subject), subject)

    def test_unlawful(self) -> None:
        """Where commands, data and events go no answer goes."""
        for subject in (
            "choria.lifecycle.event.shutdown.backplane",
            "choria.federation.production.federation",
            "choria.federation.a.b.collective",
            "choria.federation.collective",
            "x.choria.federation.production.collective",
            "dev.null",
            "_INBOX.abc",
            "app_backplane.reply",
            "app_backplane.Reply.x",
            "a.b.reply.x",
            "reply.x",
            "x",
        ):
            self.refused(subject, "is not a reply subject")
        for subject in ("$SYS.REQ.SERVER.PING", "$JS.API.STREAM.DELETE.X", "$SYS"):
            self.refused(subject, "is a subject of the broker's own")
        for subject in ("app_backplane.broadcast.agent.backplane", "app_backplane.node.app1"):
            self.refused(subject, "is where requests go")

    def test_injection(self) -> None:
        """Nothing that could begin another command of the NATS protocol passes."""
        for blank in ("\r\n", "\n", "\r", " ", "\t", "\0", "\x0b", "\x1b", "\x7f", "\x85", "\xa0"):
            for subject in (f"a.reply.x{blank}", f"{blank}a.reply.x", f"a.reply.x{blank}y"):
                self.refused(subject, "blanks or control characters")
        self.refused("a.reply.x\r\nPUB secret 2\r\nhi", "blanks")
        for strange in ("\u2028", "\u200b", "\u202e", "\ufeff", "\u3000", "\ud800"):
            self.refused(f"a.reply.{strange}", "blanks")

    def test_tokens(self) -> None:
        """Empty tokens and wildcards are refused wherever they stand."""
        for subject in (
            "",
            ".",
            "a.reply.",
            ".a.reply.x",
            "a.reply..x",
            "a..reply.x",
            "a.reply.x.",
        ):
            self.refused(subject, "empty token")
        for subject in ("a.reply.*", "*.reply.x", "a.reply.>", ">", "*", "a.reply.x.>.y"):
            self.refused(subject, "wildcard")

    def test_length(self) -> None:
        """1,024 bytes are taken; one more, and 9,000, are refused, whatever else is wrong."""
        full = "a.reply." + "x" * (MAX_SUBJECT - 8)
        self.assertIsNone(check_reply_to(full))
        self.refused(full + "x", "longer")
        self.refused("a.reply." + "x" * 8_992, "longer")
        self.refused("\r\n" * 10**6, "longer")
        wide = "a.reply." + "é" * ((MAX_SUBJECT - 8) // 2)
        self.assertIsNone(check_reply_to(wide))
        self.refused(wide + "é", "longer")
        tokens = "a.reply" + ".x" * ((MAX_SUBJECT - 7) // 2)
        self.assertIsNone(check_reply_to(tokens))

    def test_extras(self) -> None:
        """Further subjects may be allowed, with wildcards as NATS has them."""
        extras = ("audit.replies", "ops.*.replies", "tools.>")
        for subject in ("audit.replies", "ops.a.replies", "tools.a", "tools.a.b.c", "a.reply.x"):
            self.assertIsNone(check_reply_to(subject, extras), subject)
        for subject in ("audit", "audit.replies.x", "ops.replies", "ops.a.b.replies", "tools"):
            self.refused(subject, "is not a reply subject", extras)
        self.refused("tools.a b", "blanks", (">",))
        self.refused("tools.>", "wildcard", (">",))
        self.assertIsNone(check_reply_to("anything", (">",)))
        self.assertIsNone(check_reply_to("anything", ("*",)))
        self.refused("any.thing", "is not a reply subject", ("*",))

    @settings(deadline=None)
    @given(st.text(max_size=30), st.text(alphabet="ab.*> \r\n", max_size=12))
    def test_anything(self, start: str, end: str) -> None:
        """What passes is one word of the protocol and names exactly one subject."""
        subject = f"{start}.reply.{end}"
        if check_reply_to(subject) is None:
            self.assertEqual(subject.split(), [subject])
            self.assertFalse({"", "*", ">"} & set(subject.split(".")))
