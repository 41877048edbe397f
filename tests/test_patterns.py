"""RE2 with bounds: what is a pattern, what it finds, and what it may cost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane import patterns
from backplane.errors import BackplaneError
from backplane.patterns import (
    MAX_PATTERN,
    MAX_PROGRAM,
    MAX_SUBJECT,
    PatternError,
    compile_pattern,
    matches_whole,
    search,
)

SLOW = "(((x{0,9}){0,9}){0,9}a?){0,1}(b|c|d|e){0,9}z?"
"""Small enough to be compiled, and close to the largest program that is allowed."""


class SearchTests(SynchronousTestCase):
    """Finding, anywhere or as a whole."""

    def test_search(self) -> None:
        """A pattern is found anywhere, unless it has anchors; an empty one everywhere."""
        for pattern, text, found in (
            ("b", "abc", True),
            ("^b", "abc", False),
            ("", "", True),
            ("", "abc", True),
            ("a.c", "a\nc", False),
            ("(?s)a.c", "a\nc", True),
            ("c$", "abc\n", False),
            ("é+", "caféé", True),
            (r"\x{1F600}", "😀", True),
            ("😀", "😀", True),
        ):
            self.assertIs(search(pattern, text), found, pattern)

    def test_whole(self) -> None:
        """A whole match needs all of the text, whatever alternatives there are."""
        for pattern, text, found in (
            ("a|ab", "ab", True),
            ("a", "ab", False),
            ("b", "ab", False),
            ("a|b", "ab", False),
            ("a", "a\n", False),
            ("", "", True),
            ("", "a", False),
        ):
            self.assertIs(matches_whole(pattern, text), found, pattern)

    def test_ignore_case(self) -> None:
        """Case is folded as in Go, and both forms of one pattern are kept apart."""
        self.assertFalse(search("K", "\u212a"))
        self.assertTrue(search("K", "\u212a", ignore_case=True))
        self.assertTrue(matches_whole("(?i)ABC", "abc"))
        self.assertFalse(search("ss", "ß", ignore_case=True))
        self.assertFalse(search("ABC", "abc"))

    def test_not_python(self) -> None:
        """Classes are of ASCII, and what only Python has is refused."""
        self.assertFalse(search(r"\d|\w", "\u0661é"))
        self.assertTrue(search(r"\pL", "é"))
        self.assertTrue(search("[[:alpha:]]", "a"))
        self.assertTrue(matches_whole(r"\Qa.b\E", "a.b"))
        for pattern in ("(?=a)", "(?<=a)b", r"(a)\1", "(?#x)a", r"a\Z", "(?P=x)"):
            self.assertRaises(PatternError, search, pattern, "a")

    def test_surrogates(self) -> None:
        """A lone surrogate, which RE2 cannot be given, counts as U+FFFD."""
        self.assertTrue(search("^.+$", "a\ud800"))
        self.assertTrue(search("\ufffd", "\udfff"))
        self.assertRaises(PatternError, compile_pattern, "\ud800")


class BoundTests(SynchronousTestCase):
    """Each bound at its value and one beyond it."""

    def test_pattern(self) -> None:
        """2,048 characters are a pattern; one more, and a megabyte, are refused unread."""
        longest = "[" + "a" * (MAX_PATTERN - 2) + "]"
        self.assertEqual(len(longest), MAX_PATTERN)
        self.assertTrue(search(longest, "a"))
        self.patch(patterns, "re2", None)  # from here on nothing can be compiled
        for pattern in (longest + "a", "a" * 2**20, "(" * 2**20):
            error = self.assertRaises(PatternError, compile_pattern, pattern)
            self.assertIn(f"longer than {MAX_PATTERN} characters", str(error))
            self.assertLess(len(str(error)), 200)

    def test_program(self) -> None:
        """A short pattern whose program would be large is refused."""
        size = compile_pattern("a").programsize
        most = compile_pattern("a{999}" + "a" * (MAX_PROGRAM - size - 998))
        self.assertEqual(most.programsize, MAX_PROGRAM)
        for pattern in (
            "a{999}" + "a" * (MAX_PROGRAM - size - 997),
            "(a?){900}a{900}",
            r"(\pL{1,30}x){30}",
            "((((((a{9}){9}){9}){9}){9}){9}){9}",
            "a{1001}",
        ):
            self.assertRaises(PatternError, compile_pattern, pattern)

    def test_subject(self) -> None:
        """16 KiB are searched; a longer text does not match, however slow the pattern."""
        for function in (search, matches_whole):
            self.assertTrue(function("a*", "a" * MAX_SUBJECT))
            self.assertFalse(function("a*", "a" * (MAX_SUBJECT + 1)))
        self.assertGreater(compile_pattern(SLOW).programsize, MAX_PROGRAM // 2)
        text = "x" * 2**20

        class Unused:
            programsize = 1

            def search(self, text: str) -> object:
                raise AssertionError("searched")

            fullmatch = search

        self.assertTrue(search(SLOW, text[:MAX_SUBJECT]))
        self.patch(patterns, "compile_pattern", lambda pattern, ignore_case=False: Unused())
        self.assertFalse(search(SLOW, text))
        self.assertFalse(matches_whole(SLOW, text))

    def test_bad_pattern_long_text(self) -> None:
        """A pattern that is none is an error also where nothing would be searched."""
        self.assertRaises(PatternError, search, "(", "a" * (MAX_SUBJECT + 1))
        self.assertRaises(PatternError, matches_whole, "(", "a" * (MAX_SUBJECT + 1))

    def test_cache(self) -> None:
        """Good and bad patterns are compiled once."""
        self.assertIs(compile_pattern("cached?"), compile_pattern("cached?"))
        self.assertRaises(PatternError, compile_pattern, "never(")
        self.patch(patterns, "re2", None)
        self.assertTrue(search("cached?", "cache"))
        self.assertRaises(PatternError, compile_pattern, "never(")

    def test_error(self) -> None:
        """The error names the pattern, shortened, and is one of the backplane's."""
        error = self.assertRaises(PatternError, compile_pattern, "(" + "x" * 100)
        assert isinstance(error, PatternError)
        self.assertIsInstance(error, BackplaneError)
        self.assertIsInstance(error, ValueError)
        self.assertIn("'(xxxx", str(error))
        self.assertLess(len(str(error)), 200)

    @settings(deadline=None)
    @given(st.text(max_size=20), st.text(max_size=20))
    def test_anything(self, pattern: str, text: str) -> None:
        """Any two texts give an answer or the one error; a whole match is found, too."""
        try:
            whole = matches_whole(pattern, text)
        except PatternError:
            self.assertRaises(PatternError, search, pattern, text)
        else:
            self.assertTrue(search(pattern, text) or not whole)
