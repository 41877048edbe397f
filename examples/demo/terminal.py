"""A terminal that shows commands with what comes of them, and knows what should."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from examples.demo.fleet import undisturbed

PATIENCE: Final = 60.0


class NotShown(Exception):
    """A command did not show what it is there to show."""


class Terminal:
    """Runs commands in a folder, one after the other.

    :param environ: for the commands; programs beside this Python are found first.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
        self.environ = {**environ, "PATH": path, "PYTHONIOENCODING": sys.stdout.encoding}

    def say(self, text: str) -> None:
        """Say what comes next."""
        print(f"\n# {text}", flush=True)

    def show(self, name: str) -> None:
        """Show a file."""
        print(f"\n$ cat {name}\n{(self.folder / name).read_text().rstrip()}", flush=True)

    def run(self, command: str, *words: str, code: int = 0, without: tuple[str, ...] = ()) -> str:
        """Run a command, show it and what it prints, and, for ``backplane``, how it ended.

        :param command: for the shell; variables of the environment may stand first.
        :param words: what it has to print, in this order.
        :param code: the exit code that it has to end with.
        :param without: what it must not print.
        :returns: what it printed.
        :raises NotShown: when it does otherwise.
        """
        print(f"\n$ {command}", flush=True)
        text, ended = self._run(command)
        if text:
            print(text)
        if ended or "backplane" in shlex.split(command):
            print(f"(exit code {ended})", flush=True)
        if ended != code:
            raise NotShown(f"the exit code should be {code}")
        at = 0
        for word in words:
            at = text.find(word, at)
            if at < 0:
                raise NotShown(f"{word!r} should be shown")
        for word in without:
            if word in text:
                raise NotShown(f"{word!r} should not be shown")
        return text

    def _run(self, command: str) -> tuple[str, int]:
        variables = {}
        while "=" in command.partition(" ")[0]:
            first, _, command = command.partition(" ")
            name, _, variables[name] = first.partition("=")
        process: subprocess.Popen[bytes] | None = None
        try:
            with undisturbed():
                process = subprocess.Popen(
                    # The shell must not stay between us and the program: it is what is ended.
                    ["sh", "-c", f"exec {command}"],
                    cwd=self.folder,
                    env={**self.environ, **variables},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            printed, _ = process.communicate(timeout=PATIENCE)
        except BaseException:
            if process is not None:
                process.kill()
                process.wait()
            raise
        return printed.decode(sys.stdout.encoding, "replace").strip("\n"), process.returncode
