"""The reader of pages itself: it sees what differs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.examples.pages import Block, Step, agree, lines, play, read, steps

PAGE = """
=====
A page
=====

.. code-block:: sh
   :name: said

   hello

.. code-block:: console

   $ cat said
   {shown}
   $ false
   $ echo $?
   1

See `another page <other.rst>`__.
"""


class PagesTests(SynchronousTestCase):
    """A page in a file."""

    def page(self, shown: str) -> Path:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "page.rst"
        path.write_text(PAGE.replace("{shown}", shown), encoding="utf-8")
        return path

    def test_read(self) -> None:
        """Blocks, links and complaints are found."""
        page = read(self.page("hello"))
        self.assertEqual(page.blocks[0], Block("sh", "said", "hello"))
        self.assertEqual(page.links, ("other.rst",))
        self.assertIn("Title overline too short", page.complaints[0])

    def test_play(self) -> None:
        """What is shown as it is, is right; anything else is reported."""
        self.assertEqual(play(read(self.page("hello"))), [])
        self.assertEqual(play(read(self.page("goodbye"))), ["$ cat said\nhello\n"])

    def test_steps(self) -> None:
        """A command may go on in the next line."""
        block = Block("console", None, "$ a \\\n  b\nout\n\n$ c")
        self.assertEqual(list(steps(block)), [Step("a b", ["out", ""]), Step("c", [])])

    def test_lines(self) -> None:
        """Times, versions and callers are left out, addresses are not."""
        text = "Managed 2 service(s) in 12ms\nversion 1.2.3 at 127.0.0.1:4222 by choria=ann.x\n"
        self.assertEqual(
            lines(text),
            ["Managed 2 service(s) in Nms", "version VERSION at 127.0.0.1:4222 by CALLER"],
        )

    def test_agree(self) -> None:
        """An ellipsis is any lines, even none."""
        seen = ["a", "b", "c"]
        for shown in (["a", "b", "c"], ["...", "c"], ["a", "...", "b", "c"], ["..."]):
            self.assertTrue(agree(shown, seen), shown)
        for shown in (["a", "b"], ["...", "b"], ["a", "c"], []):
            self.assertFalse(agree(shown, seen), shown)
