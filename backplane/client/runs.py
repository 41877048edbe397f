"""What an operator has done: one record for each run that changed something, to take it back.

They lie in one file of the user's, see :mod:`backplane.client.statefolder`, the newest last;
old ones are left out. A damaged file is a warning, and a run that cannot be written down is
done all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from attrs.validators import deep_iterable, instance_of

from backplane.client.accounting import Outcome
from backplane.client.jobs import READS, Job
from backplane.client.statefolder import locked, read_json, write_json

__all__ = ["Record", "RunNotFound", "Runs", "record_of"]

MAX_RUNS: Final = 500
MAX_AGE: Final = 30 * 24 * 3600.0
"""Seconds after which a run is forgotten."""

MIN_PREFIX: Final = 4
"""Characters of an id that are needed at least."""

_READS: Final = READS | {"changes", "loggers", "stalls"}

_TEXT: Final = instance_of(str)
_TEXTS: Final = deep_iterable(_TEXT, instance_of(tuple))


class RunNotFound(LookupError):
    """There is no such run, or there are several."""


@attrs.frozen(kw_only=True)
class Record:
    """One run.

    :ivar run: its id, which is that of its request.
    :ivar network: see :func:`backplane.client.roster.network_of`.
    :ivar when: Unix time.
    :ivar who: caller id.
    :ivar verb: what the operator typed; ``action`` and ``data`` what was asked.
    :ivar done: identities where it was done.
    :ivar unsure: identities that were asked and did not answer.
    """

    run: str = attrs.field(validator=_TEXT)
    service: str = attrs.field(validator=_TEXT)
    network: str = attrs.field(validator=_TEXT)
    collective: str = attrs.field(validator=_TEXT)
    when: float = attrs.field(validator=instance_of((int, float)))
    who: str = attrs.field(validator=_TEXT)
    verb: str = attrs.field(validator=_TEXT)
    action: str = attrs.field(validator=_TEXT)
    data: Mapping[str, Any] = attrs.field(validator=instance_of(dict))
    done: tuple[str, ...] = attrs.field(validator=_TEXTS)
    unsure: tuple[str, ...] = attrs.field(validator=_TEXTS)

    @property
    def names(self) -> tuple[str, ...]:
        """Identities where it may have changed something."""
        return tuple(dict.fromkeys((*self.done, *self.unsure)))

    @property
    def reversible(self) -> bool:
        """Whether it made changes; else it only took some back, or gave them another end."""
        return self.action not in ("end", "amend")


def record_of(job: Job, outcome: Outcome, *, network: str, when: float, who: str) -> Record | None:
    """Return what is kept of a run; ``None`` for one that changed nothing."""
    if job.agent != "backplane" or job.action in _READS or not outcome.sent:
        return None
    done = tuple(sorted({answer.sender for answer in outcome.good}))
    unsure = tuple(sorted(set(outcome.silent) & outcome.discovered.keys()))
    if not done and not unsure:
        return None
    return Record(
        run=outcome.request_id,
        service=job.service,
        network=network,
        collective=job.collective,
        when=when,
        who=who,
        verb=job.spoken,
        action=job.action,
        data=dict(job.data),
        done=done,
        unsure=unsure,
    )


class Runs:
    """The records of one user.

    :param folder: the user's state folder; ``None`` for one who has none: nothing is kept.
    :param warn: told what the user should know.
    """

    def __init__(self, folder: str | None, warn: Callable[[str], None]) -> None:
        self._path = None if folder is None else os.path.join(folder, "runs.json")
        self._warn = warn

    def add(self, record: Record) -> None:
        """Keep a run; those that are too old or too many are forgotten."""
        if self._path is None:
            return
        try:
            with locked(self._path):
                kept = [each for each in self._read() if each.when > record.when - MAX_AGE]
                kept = [*kept, record][-MAX_RUNS:]
                write_json(
                    self._path, {"version": 1, "runs": [attrs.asdict(each) for each in kept]}
                )
        except OSError as error:
            self._warn(f"{self._path}: {error.strerror or error}; the run is not remembered")

    def find(self, service: str | None, network: str | None, prefix: str) -> Record:
        """Return the run whose id begins so.

        :param service: whose run it must be; of any when ``None``. ``network`` likewise.
        :raises RunNotFound: when there is none, or several.
        """
        if len(prefix) < MIN_PREFIX:
            raise RunNotFound(f"{prefix!r} is too short, {MIN_PREFIX} characters are needed")
        found = [
            each
            for each in self._read()
            if each.run.startswith(prefix)
            and service in (None, each.service)
            and network in (None, each.network)
        ]
        whose = f" of {service}" if service is not None else ""
        if not found:
            raise RunNotFound(f"no run{whose} that begins with {prefix!r} is remembered here")
        if len({each.run for each in found}) > 1:
            raise RunNotFound(f"several runs{whose} begin with {prefix!r}: type more of it")
        return found[-1]

    def _read(self) -> list[Record]:
        if self._path is None:
            return []
        try:
            runs = read_json(self._path, {"runs": []})["runs"]
            if not isinstance(runs, list):
                raise TypeError("no list of runs")
            return [_record(each) for each in runs]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._warn(f"{self._path}: cannot be used ({type(error).__name__}); it begins anew")
            return []


def _record(value: dict[str, Any]) -> Record:
    return Record(**{**value, "done": tuple(value["done"]), "unsure": tuple(value["unsure"])})
