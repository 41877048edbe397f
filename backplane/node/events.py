"""Tells whoever listens what is changed in this service, when it is changed.

Nobody waits for it and nothing depends on it: a broker that forbids the subject is not
asked again on that connection, and what cannot be published is not.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from backplane.change import Change, Entry
from backplane.choria.changed import ChangeEvent, change_subject, encode_change
from backplane.nats.client import Connected, Moved, NatsClient, ServerError
from backplane.nats.errors import NatsError

__all__ = ["ChangeEvents"]


class ChangeEvents:
    """The change events of one service.

    :param service: the application's name.
    :param change: returns the change of an id, for its end.
    """

    def __init__(
        self,
        client: NatsClient,
        *,
        service: str,
        identity: str,
        change: Callable[[str], Change | None],
        log: Logger,
    ) -> None:
        self._client = client
        self._service = service
        self._subject = change_subject(service)
        self._identity = identity
        self._change = change
        self._log = log
        self._forbidden = False

    def start(self) -> None:
        """Listen to what the broker allows."""
        self._client.add_listener(self._heard)

    def stop(self) -> None:
        """Listen no more."""
        self._client.remove_listener(self._heard)

    def changed(self, entry: Entry) -> None:
        """Publish a line of the history, without its detail: that may be the application's."""
        if self._forbidden or not entry.target:
            return
        change = self._change(entry.change) if entry.outcome in ("done", "amended") else None
        event = ChangeEvent(
            service=self._service,
            identity=self._identity,
            at=entry.at,
            who=entry.who,
            what=entry.what,
            outcome=entry.outcome,
            why=entry.why,
            target=entry.target,
            change=entry.change,
            until=None if change is None else change.until,
            run=entry.run,
        )
        try:
            self._client.publish(self._subject, encode_change(event))
        except (NatsError, ValueError, TypeError) as error:
            self._log.debug("a change was not told of: {error}", error=error)

    def _heard(self, event: object) -> None:
        if isinstance(event, Connected | Moved):
            self._forbidden = False
        elif (
            isinstance(event, ServerError)
            and event.kind == "publish"
            and event.subject == self._subject
            and not self._forbidden
        ):
            self._forbidden = True
            self._log.info(
                "changes are not told of: the broker does not allow {subject}",
                subject=self._subject,
            )
