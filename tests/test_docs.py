"""README and manual: they parse, they are complete, and what they show was run."""

from __future__ import annotations

import ast
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs
import click
from twisted.trial.unittest import SynchronousTestCase

import backplane
from backplane.choria.rpc import StatusCode
from backplane.cli.faults import ACTIONS
from backplane.cli.main import exec_command
from backplane.client.accounting import ExitCode
from backplane.config.client import PLACES
from backplane.config.management import CREDENTIALS
from backplane.config.service import load_file
from backplane.config.settings import (
    AuthConfig,
    FactsConfig,
    OutboxConfig,
    ServiceConfig,
    TLSConfig,
)
from backplane.errors import ConfigError
from backplane.node.outbox import OutboxStatistics
from backplane.node.outcome import Counters
from backplane.node.presence import Phase
from tests.examples.pages import PAGES, ROOT, Block, Page, play, read

LANGUAGES: Final = {"python", "yaml", "console", "ini", "sh", "text", "go"}

REFUSED: Final = {"wrong.yaml", "secure.yaml"}
"""Configurations that a terminal on the page shows to be refused."""

MODULE: Final = re.compile(r"``((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)``")
"""A module as architecture.rst names it, from the package's folder."""


def page(name: str) -> Page:
    """Return a page of the manual."""
    return read(ROOT / "docs" / name)


def literals(text: str) -> set[str]:
    """Return what a page has in double backquotes."""
    return set(re.findall(r"``([^`]+)``", text))


class FormTests(SynchronousTestCase):
    """Every page can be read."""

    def test_parse(self) -> None:
        """docutils has nothing to say about any page."""
        for path in PAGES:
            self.assertEqual(read(path).complaints, (), path.name)

    def test_links(self) -> None:
        """Every link to a file of ours leads to one, and every page is linked in the index."""
        for path in PAGES:
            for link in read(path).links:
                if not re.match(r"[a-z]+:", link):
                    target = path.parent / link.partition("#")[0]
                    self.assertTrue(target.exists(), f"{path.name}: {link}")
        linked = set(page("index.rst").links)
        pages = {path.name for path in PAGES if path.parent.name == "docs"}
        self.assertEqual(pages - linked, {"index.rst"})

    def test_languages(self) -> None:
        """Every block says what it is, so that it can be tried."""
        for path in PAGES:
            for block in read(path).blocks:
                self.assertIn(block.language, LANGUAGES, f"{path.name}: {block.text[:80]}")


class BlockTests(SynchronousTestCase):
    """What is shown is right."""

    def test_examples(self) -> None:
        """A block that is named as an example is that file, word for word."""
        found = 0
        for path in PAGES:
            for block in read(path).blocks:
                if block.name is not None and block.name.startswith("examples/"):
                    found += 1
                    text = (ROOT / block.name).read_text(encoding="utf-8")
                    self.assertEqual(block.text.strip(), text.strip(), path.name)
        self.assertTrue(found)

    def test_python(self) -> None:
        """Python blocks of a page run one after the other; those that are files compile."""
        for path in PAGES:
            space: dict[str, Any] = {"__name__": "shown"}
            for block in read(path).blocks:
                if block.language != "python":
                    continue
                code = compile(ast.parse(block.text), f"{path.name}", "exec")
                if block.name is None:
                    exec(code, space)
        # A page shows what becomes of a health check that raises.
        self.flushLoggedErrors(RuntimeError)

    def test_yaml(self) -> None:
        """Configurations that are shown are accepted."""
        found = 0
        with tempfile.TemporaryDirectory() as folder:
            for path in PAGES:
                for block in read(path).blocks:
                    if block.language == "yaml" and block.name not in REFUSED:
                        self.load(block, Path(folder), path.name)
                        found += 1
        self.assertTrue(found > 3)

    def load(self, block: Block, folder: Path, name: str) -> None:
        file = folder / "app.yaml"
        file.write_text(block.text, encoding="utf-8")
        loaded = load_file(
            str(file),
            env={"BROKER_PASSWORD": "secret"},
            hostname="host.example.net",
            pid=7,
            require=True,
            check_files=False,
        )
        assert loaded.management is not None
        self.assertTrue(loaded.management.brokers, name)


class ShownTests(SynchronousTestCase):
    """What terminals show on the pages is what they show."""

    def test_shown(self) -> None:
        """Every page that has a terminal, two at a time."""
        pages = [read(path) for path in PAGES]
        shown = [page for page in pages if "console" in {block.language for block in page.blocks}]
        self.assertIn("README.rst", {page.path.name for page in shown})
        with ThreadPoolExecutor(2) as pool:
            for page, wrong in zip(shown, pool.map(play, shown), strict=True):
                self.assertEqual(wrong, [], f"{page.path.name}:\n" + "\n".join(wrong))


class CompletenessTests(SynchronousTestCase):
    """What there is, is described; what is described, is there."""

    def test_modules(self) -> None:
        """architecture.rst names every module, and none that does not exist."""
        package = Path(backplane.__file__).parent
        named = set(MODULE.findall(page("architecture.rst").text))
        there = {
            path.relative_to(package).as_posix()
            for path in package.rglob("*.py")
            if path.name != "__init__.py"
        }
        self.assertEqual((sorted(there - named), sorted(named - there)), ([], []))

    def test_keys(self) -> None:
        """configuration.rst has every key, of whichever section."""
        known = literals(page("configuration.rst").text)
        for kind, section in (
            (ServiceConfig, ""),
            (AuthConfig, "auth."),
            (FactsConfig, "facts."),
            (OutboxConfig, "outbox."),
            (TLSConfig, "tls."),
        ):
            for field in attrs.fields(kind):
                name = field.name
                if kind is ServiceConfig and name in CREDENTIALS:
                    name = f"nats.{name}"
                self.assertIn(section + name, known)
        for name in ("instance", "app", "management", *PLACES):
            self.assertIn(name, known)

    def test_keys_read(self) -> None:
        """configuration.rst has every key that the reader of files knows."""
        known = literals(page("configuration.rst").text)
        sections = ("auth", "audit", "facts", "nats", "outbox", "tls")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "app.yaml"
            file.write_text(
                "management:\n  zzz: 1\n" + "".join(f"  {name}: {{zzz: 1}}\n" for name in sections)
            )
            with self.assertRaises(ConfigError) as raised:
                load_file(str(file), env={}, hostname="host.example.net", pid=7, require=True)
        found = {
            problem.key.removesuffix("zzz").removeprefix("management."): problem.wanted
            for problem in raised.exception.problems
            if problem.key.endswith(".zzz")
        }
        self.assertEqual(set(found), {"", *(f"{name}." for name in sections)})
        for section, wanted in found.items():
            for key in wanted.rpartition("one of ")[2].split(", "):
                self.assertIn(section + key, {*known, *sections})

    def test_command_line(self) -> None:
        """cli.rst has every flag, every action and every exit code."""
        text = page("cli.rst").text
        known = literals(text)
        for param in exec_command.params:
            if isinstance(param, click.Option):
                for flag in (*param.opts, *param.secondary_opts):
                    self.assertTrue(any(flag in word.split() for word in known), flag)
        for action in ACTIONS:
            self.assertIn(action, known)
        for code in ExitCode:
            self.assertRegex(text, rf"(?m)^``{code.value}`` ")

    def test_names(self) -> None:
        """Everything that the package offers is described on some page."""
        text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
        for name in backplane.__all__:
            self.assertRegex(text, rf"\b{re.escape(name)}\b")
        for status in StatusCode:
            self.assertIn(status.name, text)

    def test_counters(self) -> None:
        """operations.rst has every phase and every counter."""
        known = literals(page("operations.rst").text)
        for phase in Phase:
            self.assertIn(phase.name, known)
        for kind in (Counters, OutboxStatistics):
            for field in attrs.fields(kind):
                self.assertIn(field.name, known)

    def test_make(self) -> None:
        """Every ``make`` target that a page names is there."""
        targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
        for path in PAGES:
            for target in re.findall(r"\bmake ([a-z]+)\b``", path.read_text(encoding="utf-8")):
                self.assertIn(target, targets, path.name)
