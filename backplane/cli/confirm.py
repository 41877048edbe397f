"""Whether an operator means it: in proportion to the reach, and only where there is a terminal.

Reading asks nothing. A change of everybody, or of more than :data:`FEW`, shows how many
that are and asks; a shutdown of everybody wants the service's name typed. Scripts are not
asked, and go on, but for such a shutdown: that needs ``--yes``.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed

from backplane.cli.console import Console, safe
from backplane.client.jobs import READS, Job

__all__ = ["FEW", "Asker", "Nobody", "Question", "Terminal", "mixed", "question", "stops"]

FEW: Final = 10
"""So many services may be changed without a question, where the operator has named whom."""


class Asker(Protocol):
    """Asks the operator."""

    @property
    def there(self) -> bool:
        """Whether somebody can be asked."""

    def ask(self, text: str) -> Deferred[str]:
        """Return what is typed: a line, ``""`` at its end or when it cannot be read."""


@attrs.frozen
class Question:
    """What is asked before a change.

    :ivar wanted: what must be typed; ``y`` or ``yes`` for ``""``.
    :ivar needed: whether it is not done without an answer, or ``--yes``.
    """

    text: str
    wanted: str = ""
    needed: bool = False

    def accepts(self, typed: str) -> bool:
        """Say whether that is a yes."""
        typed = typed.strip()
        return typed == self.wanted if self.wanted else typed.lower() in ("y", "yes")


def question(job: Job, meant: int, found: int, warning: str = "") -> Question | None:
    """Return what is to be asked before a job, or ``None``.

    :param meant: how many services are asked, of ``found``.
    :param warning: what is wrong with it; it is asked then in any case.
    """
    if job.agent == "backplane" and job.action in READS:
        return None
    everyone = job.everyone and meant == found
    number = f"all {meant}" if everyone else f"{meant} of {found}" if meant < found else str(meant)
    what = f"{safe(_deed(job))} {number} service(s) of {safe(job.service)}"
    if stops(job):
        if everyone and meant > 1:
            return Question(f"{what}: type {job.service} to do it: ", job.service, needed=True)
        return Question(f"{what}? [y/N] ")
    if everyone or meant > FEW or warning:
        return Question(f"{what}? [y/N] ")
    return None


def _deed(job: Job) -> str:
    """Return what is done to services, as one says it before their number."""
    target = job.data.get("target")
    kind, _, name = target.partition(":") if isinstance(target, str) else ("", "", "")
    if job.action == "end" and kind == "shutdown":
        return "call off the shutdown of"
    part = {"breaker": f"breaker {name} on", "log": f"logger {name} on"}.get(kind, "")
    return f"{job.spoken} {part}" if name and part else job.spoken


def stops(job: Job) -> bool:
    """Say whether a job ends processes."""
    return job.action == "shutdown" or (
        job.action == "change" and job.data.get("target") == "shutdown"
    )


def mixed(paused: Iterable[bool]) -> str:
    """Return what is to be said of a flip of services that differ, or ``""``."""
    count = Counter(paused)
    if not (count[True] and count[False]):
        return ""
    return (
        f"they differ: {count[True]} paused, {count[False]} running; "
        f"a flip resumes {count[True]} and pauses {count[False]}"
    )


class Nobody:
    """Nobody can be asked."""

    there = False

    def ask(self, text: str) -> Deferred[str]:
        """See :meth:`Asker.ask`."""
        return succeed("")


class Terminal:
    """The operator's terminal.

    A line is read in a thread, as files cannot be waited for everywhere; and without Python's
    buffer, whose lock that thread would hold at the end of the process.
    """

    def __init__(self, console: Console, call: Callable[..., Any]) -> None:
        self._console = console
        self._call = call

    @property
    def there(self) -> bool:
        """Whether standard input, output and error are all a terminal."""
        return self._console.live and all(_is_terminal(file) for file in (sys.stdin, sys.stdout))

    def ask(self, text: str) -> Deferred[str]:
        """See :meth:`Asker.ask`."""
        self._console.ask(text)
        typed: Deferred[str] = Deferred(lambda deferred: None)

        def give(line: str) -> None:
            if not typed.called:
                typed.callback(line)

        def read() -> None:
            try:
                line = os.read(sys.stdin.fileno(), 4096).decode(errors="replace")
            except (OSError, ValueError):
                line = ""
            self._call(give, line)

        threading.Thread(target=read, name="confirm", daemon=True).start()
        return typed


def _is_terminal(file: Any) -> bool:
    try:
        return file is not None and bool(file.isatty())
    except ValueError:
        return False
