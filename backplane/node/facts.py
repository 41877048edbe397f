"""Snapshots of the application's facts, served from memory.

The information source is asked on an interval and on demand, never while a
filter is evaluated. A source that raises leaves the service without facts of
its own, so that it matches no filter on them; the ``backplane_*`` facts that
clients filter on are always there.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.choria.facts import clean, hide, mask
from backplane.node.calling import MethodCalls
from backplane.node.description import describe
from backplane.security.roles import Role

__all__ = ["FactSnapshots"]

MAX_REPORTED: Final = 100
"""Causes of unusable facts that are remembered, so that each is logged once."""

MAX_VERSION: Final = 200
"""Characters of the application's version that are shown."""


class FactSnapshots:
    """The facts of one service.

    :param source: calls of the application's ``IInfoSource``, or ``None``.
    :param own: the ``backplane_*`` facts.
    :param secrets: names or paths of further keys to mask.
    :param exempt: keys that are never masked.
    :param deadline: seconds that the source may take.
    """

    def __init__(
        self,
        source: MethodCalls | None,
        own: Callable[[], Mapping[str, Any]],
        log: Logger,
        *,
        secrets: Sequence[str] = (),
        exempt: Sequence[str] = (),
        deadline: float,
    ) -> None:
        self._source = source
        self._own = own
        self._log = log
        self._secrets = tuple(secrets)
        self._exempt = tuple(exempt)
        self._deadline = deadline
        self._shown: dict[str, Any] | None = None
        self._usable: dict[str, Any] = {}
        self._reported: set[str] = set()
        self._seen: bytes | None = None
        self.version = "unknown"

    @property
    def application(self) -> Mapping[str, Any] | None:
        """The application's facts with secrets masked; ``None`` without usable ones."""
        return self._shown

    def shown(self) -> dict[str, Any]:
        """Return all facts with secrets masked, for inventories."""
        return {**(self._shown or {}), **self._own()}

    def usable(self, role: Role | None) -> Mapping[str, Any]:
        """Return the facts that filters of a caller with ``role`` may look at.

        Secrets are absent. A caller without a role sees only ``backplane_*``.
        """
        own = self._own()
        return dict(own) if role is None else {**self._usable, **own}

    def refresh(self, patience: float | None = None) -> Deferred[None]:
        """Ask the information source.

        :param patience: seconds to wait for it at most; the call goes on.
        :returns: fires when the snapshot is new, or the old one has to do; never fails.
        """
        if self._source is None:
            return succeed(None)
        deadline = self._deadline
        version = self._source.read("version", deadline=deadline)
        version.addCallbacks(self._take_version, self._failed)
        facts = self._source.read("fact_data", deadline=deadline)
        facts.addCallbacks(self._take, self._failed_facts)
        if patience is None or facts.called:
            return facts.addCallback(lambda result: version)
        # A caller with little patience shares the call, which goes on without him.
        waiting = self._source.read("fact_data", deadline=deadline, patience=patience)
        return waiting.addBoth(lambda result: None)

    def masked(self, value: Any) -> Any:
        """Return plain JSON values without secrets, by the rules of these facts."""
        return mask(value, extra=self._secrets, exempt=self._exempt)

    def _take_version(self, version: object) -> None:
        shown, _ = clean(version)
        self.version = "unknown" if shown is None else str(shown)[:MAX_VERSION]

    def _take(self, data: object) -> None:
        seen = _fingerprint(data)
        if seen is not None and seen == self._seen:
            return
        self._seen = seen
        value, problems = clean(data)
        for problem in problems:
            self._report(f"{problem}")
        if not isinstance(value, dict):
            self._report(f"fact_data() returned a {type(data).__name__}, which is no mapping")
            self._shown, self._usable = None, {}
            return
        self._shown = self.masked(value)
        self._usable = hide(value, extra=self._secrets, exempt=self._exempt)

    def _failed(self, failure: Failure) -> None:
        self._report(f"the information source failed: {describe(failure)}")

    def _failed_facts(self, failure: Failure) -> None:
        self._failed(failure)
        self._shown, self._usable, self._seen = None, {}, None

    def _report(self, cause: str) -> None:
        if cause not in self._reported and len(self._reported) < MAX_REPORTED:
            self._reported.add(cause)
            self._log.warn("facts: {cause}", cause=cause[:500])


def _fingerprint(data: Any) -> bytes | None:
    """Return bytes that only the same plain values have, or ``None`` for other values.

    Most facts are what they were a moment ago, and making this of them takes a fiftieth
    of the time that looking for secrets in them takes. Other than a comparison it sees what
    was changed in place, and tells ``1`` from ``True``.
    """
    try:
        return hashlib.sha256(marshal.dumps(data)).digest()
    except Exception:  # the objects of others may do anything
        return None
