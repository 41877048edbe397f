"""The manual as a site: it builds without a warning, and nothing of it is elsewhere."""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

import backplane
from tests.examples.pages import INCLUDING, PAGES, ROOT

DOORS: Final = (
    "backplane.client",
    "backplane.testing",
    "backplane.interfaces",
    "backplane.parts",
    "backplane.errors",
)
"""Modules whose public names the site describes, each and all, beside the package's."""

IN_WORDS: Final = {"__version__", "aio"}
"""Public names of the package that no docstring of theirs describes."""

LOADING: Final = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src")}
"""What a browser fetches by itself."""


class Links(HTMLParser):
    """Targets of links, and what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.followed: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.followed.append(value or "")
            elif (tag, name) in LOADING:
                self.loaded.append(value or "")


@functools.cache
def site() -> tuple[Path, str]:
    """Build the site, once for all tests; return its folder and what Sphinx says."""
    folder = tempfile.mkdtemp(prefix="backplane-site-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = ["-W", "-n", "-q", "--keep-going", "-d", f"{folder}/doctrees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), f"{folder}/html"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "NO_COLOR": "1"},
    )
    said = done.stdout + done.stderr
    return Path(folder) / "html", said + ("\nfailed" if done.returncode else "")


class SiteTests(SynchronousTestCase):
    """``make docs``."""

    def setUp(self) -> None:
        self.site, self.complaints = site()

    def links(self, name: str) -> Links:
        """Read a page of the site."""
        links = Links()
        links.feed((self.site / name).read_text(encoding="utf-8"))
        return links

    def described(self) -> set[str]:
        """Return the names that have a place on the site."""
        inventory = (self.site / "objects.inv").read_bytes().split(b"\n", 4)[4]
        lines = zlib.decompress(inventory).decode().splitlines()
        return {line.split()[0] for line in lines if line.split()[1].startswith("py:")}

    def test_warnings(self) -> None:
        """Sphinx has nothing to say, references without a target included."""
        self.assertEqual(self.complaints, "")

    def test_pages(self) -> None:
        """Every page is a page of the site, and in its table of contents."""
        names = {path.stem for path in PAGES if path.parent.name == "docs"}
        names |= {name.removesuffix(".rst") for name in INCLUDING}
        contents = {link.partition("#")[0] for link in self.links("index.html").followed}
        for name in names:
            self.assertTrue((self.site / f"{name}.html").exists(), name)
            self.assertTrue(name == "index" or f"{name}.html" in contents, name)

    def test_links(self) -> None:
        """Links of pages to pages lead to what is there, place within the page included."""
        pages = {path.name: path.read_text("utf-8") for path in self.site.glob("*.html")}
        places = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in pages.items()}
        for name in pages:
            for link in self.links(name).followed:
                target, _, place = link.partition("#")
                if re.match(r"[a-z]+:", target):
                    continue
                file = target or name
                self.assertTrue((self.site / file).exists(), f"{name}: {link}")
                if place and file in places and file != "genindex.html":
                    self.assertIn(place, places[file], f"{name}: {link}")

    def test_offline(self) -> None:
        """Reading it fetches nothing from elsewhere."""
        for path in self.site.glob("*.html"):
            for loaded in self.links(path.name).loaded:
                self.assertNotRegex(loaded, r"^([a-z]+:)?//", path.name)

    def test_names(self) -> None:
        """Every public name is described."""
        described = self.described()
        for name in set(backplane.__all__) - IN_WORDS:
            self.assertIn(f"backplane.{name}", described)
        for door in DOORS:
            module: Any = importlib.import_module(door)
            for name in module.__all__:
                self.assertTrue(described & {f"{door}.{name}", f"backplane.{name}"}, name)

    def test_machine(self) -> None:
        """Nothing on the site tells where it was built."""
        for path in self.site.glob("*.html"):
            text = path.read_text(encoding="utf-8")
            self.assertNotIn(str(ROOT), text, path.name)
            self.assertNotRegex(text, r" object at 0x|InterfaceClass|attr_dict")


class ReferenceTests(SynchronousTestCase):
    """What is written from the code is up to date."""

    def test_commands(self) -> None:
        """``python docs/_ext/commands.py`` would change nothing."""
        folder = str(ROOT / "docs" / "_ext")
        sys.path.insert(0, folder)
        self.addCleanup(sys.path.remove, folder)
        commands: Any = importlib.import_module("commands")
        self.addCleanup(sys.modules.pop, "commands")
        self.assertEqual(commands.PAGE.read_text(encoding="utf-8"), commands.page())
