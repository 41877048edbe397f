"""README and manual as tests see them: blocks of code, and what a terminal shows.

A ``console`` block is a terminal: lines that begin with ``$`` are commands, the
others what they print; ``...`` stands for any lines. A block with a ``:name:`` is
a file: one below ``examples/`` is that file, any other is written beside.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from backplane.testing import NatsServer

ROOT: Final = Path(__file__).resolve().parents[2]
INCLUDING: Final = {"readme.rst", "changes.rst"}
"""Pages of the site that are README and changes."""

PAGES: Final = (
    ROOT / "README.rst",
    ROOT / "CHANGELOG.rst",
    *sorted(set((ROOT / "docs").glob("*.rst")) - {ROOT / "docs" / name for name in INCLUDING}),
)

BROKER: Final = "127.0.0.1:4222"
"""The broker's address on every page; where it listens in a test is another port."""

PATIENCE: Final = 30.0
"""Seconds after which something that should have happened counts as failed."""

SETTINGS: Final = {
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    "syntax_highlight": "none",
    "input_encoding": "utf-8",
}


@attrs.frozen
class Block:
    """A block of code.

    :ivar language: ``python``, ``yaml``, ``console``, ``ini``, ``sh``, ``text`` or empty.
    :ivar name: of a file, or ``None``.
    """

    language: str
    name: str | None
    text: str


@attrs.frozen
class Page:
    """A page, parsed.

    :ivar complaints: what docutils finds wrong with it.
    :ivar links: targets of its links.
    """

    path: Path
    text: str
    blocks: tuple[Block, ...]
    links: tuple[str, ...]
    complaints: tuple[str, ...]


def read(path: Path) -> Page:
    """Parse a page."""
    # docutils has no types.
    core: Any = importlib.import_module("docutils.core")
    text = path.read_text(encoding="utf-8")
    complaints: list[str] = []
    publisher = core.Publisher(source_class=importlib.import_module("docutils.io").StringInput)
    publisher.set_components("standalone", "rst", "pseudoxml")
    publisher.process_programmatic_settings(None, SETTINGS, None)
    publisher.set_source(text, str(path))
    reader = publisher.reader
    document = reader.read(publisher.source, publisher.parser, publisher.settings)
    document.reporter.attach_observer(lambda message: complaints.append(message.astext()))
    document.transformer.populate_from_components(
        (publisher.source, reader, reader.parser, publisher.writer, publisher.destination)
    )
    document.transformer.apply_transforms()
    complaints += [message.astext() for message in document.parse_messages]
    blocks, links = [], []
    for node in document.findall():
        if node.tagname == "literal_block":
            languages = [word for word in node["classes"] if word not in ("code", "literal-block")]
            name = node["names"][0] if node["names"] else None
            blocks.append(Block(languages[0] if languages else "", name, node.astext()))
        elif node.tagname == "reference" and node.get("refuri"):
            links.append(node["refuri"])
    return Page(path, text, tuple(blocks), tuple(links), tuple(complaints))


@attrs.define
class Step:
    """A command on a page and what it shows there."""

    command: str
    shown: list[str]


def steps(block: Block) -> Iterator[Step]:
    """Read a ``console`` block; a line that ends with a backslash goes on in the next."""
    step: Step | None = None
    for line in block.text.split("\n"):
        if step is not None and step.command.endswith("\\"):
            step.command = step.command[:-1] + line.strip()
        elif line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(line[2:], [])
        else:
            assert step is not None, f"a console block must begin with a command: {line}"
            step.shown.append(line)
    if step is not None:
        yield step


_VARIABLE: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:?\d\d|Z)"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\(in \d[\w ]*\)"), "(in SPAN)"),
    (re.compile(r"\b\d+ under way\b"), "N under way"),
    (re.compile(r"\b\d+ms\b"), "Nms"),
    (re.compile(r"\b\d{1,6}[dhm]( \d+[hms])?\b"), "SPAN"),
    (re.compile(r"\b\d+(\.\d+)?s\b"), "Ns"),
    (re.compile(r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])"), "VERSION"),
    (re.compile(r"\b([0-9a-f]{32}|[0-9a-f]{8})\b"), "ID"),
    (re.compile(r"(?<=_seconds\": )[\d.e-]+|(?<=\"seconds\": )[\d.e-]+"), "SECONDS"),
    (re.compile(r"choria=[\w.-]+"), "CALLER"),
)
"""What differs from one run to the next, and what stands for it."""


_RUN: Final = re.compile(r"^Run ([0-9a-f]{8});", re.MULTILINE)


def lines(text: str) -> list[str]:
    """Return the lines of an output without what differs between runs."""
    for pattern, word in _VARIABLE:
        text = pattern.sub(word, text)
    found = (line.rstrip() for line in text.strip("\n").split("\n"))
    # Columns are as wide as what differs is long.
    return [re.sub(r"(?<=\S) {2,}", "  ", line) for line in found]


def agree(shown: list[str], seen: list[str]) -> bool:
    """Say whether a page shows what was seen; ``...`` on the page is any lines."""
    if not shown:
        return not seen
    if shown[0].strip() == "...":
        return any(agree(shown[1:], seen[at:]) for at in range(len(seen) + 1))
    return bool(seen) and shown[0] == seen[0] and agree(shown[1:], seen[1:])


class Terminal:
    """Runs what a page shows, in a folder of its own; :meth:`close` ends it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="backplane-page-"))
        self._server: NatsServer | None = None
        self._services: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._code = 0
        self._runs: dict[str, str] = {}  # ids of runs: shown, seen

    def _here(self, text: str) -> str:
        return text if self._server is None else text.replace(BROKER, self._server.url[7:])

    def start_broker(self) -> None:
        """Start a real ``nats-server``, on a free port."""
        self._server = NatsServer()
        self._server.start()
        self._server.wait_ready()

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text) + "\n", encoding="utf-8")

    def run(self, step: Step) -> str:
        """Do one step; return what is wrong with it, or nothing."""
        for shown, seen in self._runs.items():
            step.command = step.command.replace(shown, seen)
        words = step.command.split()
        if words[0] == "nats-server":
            return ""
        if step.command == "echo $?":
            seen = str(self._code)
        elif "twistd -n " in step.command:
            return self._serve(step)
        else:
            done = subprocess.run(
                ["sh", "-c", self._here(step.command)],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=False,
            )
            self._code = done.returncode
            seen = done.stdout.decode()
        return self._compare(step, seen)

    def _compare(self, step: Step, seen: str, more: bool = False) -> str:
        if self._server is not None:
            seen = seen.replace(self._server.url[7:], BROKER)
        seen = seen.replace(str(self.folder) + os.sep, "")
        runs = (_RUN.findall(text) for text in ("\n".join(step.shown), seen))
        self._runs.update(zip(*runs, strict=False))
        shown, found = lines("\n".join(step.shown)), lines(seen)
        if more:
            # Of a service's log the page shows what matters.
            shown = [line for text in shown for line in ("...", text)] + ["..."]
        return "" if agree(shown, found) else f"$ {step.command}\n{seen}"

    def _serve(self, step: Step) -> str:
        log = self.folder / f"service{len(self._services)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-c", _replacing_the_shell(self._here(step.command))],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._services.append((process, log))
        end = time.monotonic() + PATIENCE
        while "ready:" not in log.read_text() and process.poll() is None:
            if time.monotonic() > end:
                return f"never ready: {log.read_text()}"
            time.sleep(0.02)
        self._code = process.poll() or 0
        return self._compare(step, log.read_text(), more=True)

    def _environment(self) -> dict[str, str]:
        bin_folder = self.folder / ".bin"
        if not bin_folder.exists():
            bin_folder.mkdir()
            for name, program in _PROGRAMS.items():
                (bin_folder / name).write_text(f"#!/bin/sh\nexec {_python(program)}\n")
                (bin_folder / name).chmod(0o755)
        environ = {
            **os.environ,
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / ".state"),
            "USER": "operator",
            "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            # Two twistds of one folder would want the same file.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in ("NO_COLOR", "BROKER", "HOSTNAME", "BACKPLANE_CONFIG"):
            environ.pop(name, None)
        return environ

    def close(self) -> None:
        """End what was started and remove the folder."""
        for process, _ in self._services:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process, _ in self._services:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._server is not None:
            self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_PROGRAMS: Final = {
    "python": "",
    "backplane": '-c "import sys; del sys.path[0]; from backplane.cli.main import main; '
    "sys.argv[0] = 'backplane'; sys.exit(main())\"",
    "twistd": '-c "import sys; del sys.path[0]; from twisted.scripts.twistd import run; '
    "sys.argv[0] = 'twistd'; run()\"",
}
"""Programs that pages name; they are those of the Python that runs the tests. As with
the installed scripts, the working directory is not on the path."""


def _python(arguments: str) -> str:
    return f'"{sys.executable}" {arguments} "$@"'


def _replacing_the_shell(command: str) -> str:
    """Return the command so that a signal for the shell reaches the program."""
    before, program, after = command.partition("twistd")
    return f"{before.strip()} exec {program}{after}".strip()


def play(page: Page) -> list[str]:
    """Write the files of a page, run its terminals; return what differs."""
    consoles = [block for block in page.blocks if block.language == "console"]
    terminal = Terminal()
    try:
        if any("nats-server" in block.text for block in consoles):
            terminal.start_broker()
        wrong = []
        for block in page.blocks:
            if block.name is not None:
                terminal.write(block.name, block.text)
            elif block.language == "console":
                wrong += [text for step in steps(block) if (text := terminal.run(step))]
        return wrong
    finally:
        terminal.close()
