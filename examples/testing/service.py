"""A service as people write them: it sends letters unless it is paused."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from zope.interface import implementer

from backplane import ActionError, ActionRequest, Agent, Input, Metadata, Output, action
from backplane.interfaces import IHealthCheckable, IInfoSource, IPausable


@implementer(IPausable, IHealthCheckable, IInfoSource)
class Letters(Service):
    """Sends letters; ``post`` does the work and may fail."""

    def __init__(self, post: Callable[[str], None]) -> None:
        self.post = post
        self.waiting: list[str] = []
        self.trouble: str | None = None
        self._paused = False

    def send(self, letter: str) -> None:
        """Send a letter now, or once the service is resumed."""
        if self._paused:
            self.waiting.append(letter)
            return
        try:
            self.post(letter)
        except OSError as error:
            self.trouble = str(error)
        else:
            self.trouble = None

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        waiting, self.waiting = self.waiting, []
        for letter in waiting:
            self.send(letter)

    def flip(self) -> None:
        if self._paused:
            self.resume()
        else:
            self.pause()

    def paused(self) -> bool:
        return self._paused

    def health_check(self) -> tuple[dict[str, str | None], bool]:
        return {"trouble": self.trouble}, self.trouble is None

    def fact_data(self) -> dict[str, object]:
        return {"country": "nl", "smtp": {"host": "mail.example.net", "password": "hunter2"}}

    def version(self) -> str:
        return "2.1.0"


class LettersAgent(Agent):
    """What only this service has: operators can drop what waits."""

    metadata = Metadata(
        name="letters", description="Letters", version="2.1.0", author="Post <post@example.net>"
    )

    def __init__(self, letters: Letters) -> None:
        self.letters = letters

    @action(
        "Drops letters that wait",
        inputs=[Input(name="count", prompt="Count", description="How many", type="integer")],
        outputs=[Output(name="left", description="Letters that still wait", display_as="Left")],
    )
    def drop(self, request: ActionRequest) -> dict[str, int]:
        count = request.data["count"]
        if count > len(self.letters.waiting):
            raise ActionError(f"only {len(self.letters.waiting)} letters wait")
        del self.letters.waiting[:count]
        return {"left": len(self.letters.waiting)}
