"""``strict``: what it sets, and what it refuses."""

from __future__ import annotations

from backplane.config.strict import STRICT_TTL
from tests.config.test_service import BASE, Files

TIGHT = (
    BASE + "  strict: true\n  tls: {scheme: puppet, ssl_dir: ssl}\n  audit: {logfile: audit.log}\n"
)


class StrictTests(Files):
    """The key, and the option that stands for it."""

    def test_defaults(self) -> None:
        """What is not given is tight."""
        config = self.config(TIGHT)
        assert config.tls is not None
        assert config.audit is not None
        self.assertTrue(config.strict)
        self.assertFalse(config.tls.delegation)
        self.assertTrue(config.audit.required)
        self.assertEqual(STRICT_TTL, 60)

    def test_not_strict(self) -> None:
        """Without it nothing is."""
        config = self.config(TIGHT.replace("strict: true", "strict: false"))
        assert config.tls is not None
        assert config.audit is not None
        self.assertTrue(config.tls.delegation)
        self.assertFalse(config.audit.required)

    def test_loose(self) -> None:
        """Whatever is loose is named, with its place, all at once."""
        self.touch("classes")
        problems = self.problems(
            BASE + "  strict: true\n"
            "  tls: {scheme: puppet, delegation: true}\n"
            "  auth: {insecure: true}\n"
            "  audit: {logfile: audit.log, required: false}\n"
            "  classes_file: classes\n"
        )
        self.assertEqual(
            {key: problem.line for key, problem in problems.items()},
            {
                "management.tls.delegation": 5,
                "management.auth.insecure": 6,
                "management.audit.required": 7,
                "management.classes_file": 8,
            },
        )
        for problem in problems.values():
            self.assertIn("as `strict` is set", problem.wanted)

    def test_missing(self) -> None:
        """There must be TLS and an audit log."""
        problems = self.problems(BASE + "  strict: true\n")
        self.assertEqual(set(problems), {"management.tls", "management.audit"})

    def test_option(self) -> None:
        """The option does what the key does, and the key cannot undo it."""
        for text in (BASE, BASE + "  strict: false\n"):
            problems = self.problems(text, strict=True)
            self.assertEqual(set(problems), {"management.tls", "management.audit"})

    def test_state_file(self) -> None:
        """It is relative to the file, and must be writable."""
        config = self.config(BASE + "  state_file: state\n")
        self.assertEqual(config.state_file, f"{self.folder}/state")
        problems = self.problems(BASE + "  state_file: missing/state\n")
        self.assertIn("management.state_file", problems)
