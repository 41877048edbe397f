"""Who was seen of late: the instances that a run of a whole fleet may expect.

A process that is frozen answers nothing, discovery neither. Only somebody who has seen it
before knows that it is missing. A roster is of one service in one collective on one
network. It learns from what answers; it ages, as instances come and go under new names,
and it knows who said goodbye. Time is an argument; only :class:`Rosters` has files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from backplane.client.accounting import Outcome
from backplane.client.jobs import Job
from backplane.client.statefolder import locked, read_json, write_json
from backplane.nats.servers import parse_server
from backplane.security.names import valid_identity

__all__ = ["Member", "Roster", "Rosters", "learn", "network_of"]

EXPECTED: Final = 3600.0
"""Seconds after it was last seen during which an instance is expected, where
``plugin.backplane.roster`` does not say. Longer, and
whoever replaces containers by others with new names is told of the old ones all day; shorter,
and one that froze since the operator last looked is not missed."""

KEPT: Final = 86400.0
"""Seconds after which an instance is forgotten. Until then it is a candidate where some of
those that ``--expect`` counts are missing."""

LEAVING: Final = 60.0
"""Seconds during which an instance that was told to end may still answer."""

MAX_MEMBERS: Final = 100_000
"""Instances of a roster; more answers than that are not a fleet but a flood."""

VERSION: Final = 1


@attrs.frozen
class Member:
    """An instance that was seen.

    :ivar seen: Unix time at which it last was.
    :ivar gone: when it said goodbye, or will have ended; ``None`` if it did not.
    """

    seen: float
    gone: float | None = None


class Roster:
    """The instances of one service, in one collective, on one network.

    :ivar members: by identity.
    """

    def __init__(self, members: Mapping[str, Member] | None = None) -> None:
        self.members: dict[str, Member] = dict(members or {})

    def see(self, names: Iterable[str], now: float) -> None:
        """Take in who was seen; one that is about to end is not expected all the same."""
        for name in names:
            member = self.members.get(name)
            if member is None and len(self.members) >= MAX_MEMBERS:
                continue
            if member is None or member.gone is None or now - member.gone >= LEAVING:
                self.members[name] = Member(now)

    def leave(self, names: Iterable[str], when: float) -> None:
        """Take in who ends, or will have ended at a time; strangers are not added."""
        for name in names:
            member = self.members.get(name)
            if member is not None:
                self.members[name] = attrs.evolve(member, gone=when)

    def stay(self, names: Iterable[str], now: float) -> None:
        """Take in who does not end after all."""
        for name in names:
            if name in self.members:
                self.members[name] = Member(now)

    def forget(self, name: str) -> bool:
        """Forget an instance; say whether it was known."""
        return self.members.pop(name, None) is not None

    def age(self, now: float) -> None:
        """Forget who was not seen for long. What was seen in the future was seen now."""
        for name, member in list(self.members.items()):
            if member.seen > now:
                member = self.members[name] = attrs.evolve(member, seen=now)
            if now - max(member.seen, member.gone or 0.0) > KEPT:
                del self.members[name]

    def expected(self, now: float, within: float = EXPECTED) -> frozenset[str]:
        """Return who should answer.

        :param within: seconds since an instance was last seen.
        """
        return frozenset(
            name
            for name, member in self.members.items()
            if member.gone is None and now - member.seen <= within
        )

    def faded(self, now: float, within: float = EXPECTED) -> frozenset[str]:
        """Return who was seen too long ago to be expected."""
        staying = (name for name, member in self.members.items() if member.gone is None)
        return frozenset(staying) - self.expected(now, within)

    def dump(self) -> dict[str, list[float | None]]:
        """Return the members as JSON-able values."""
        return {name: [each.seen, each.gone] for name, each in sorted(self.members.items())}

    @classmethod
    def load(cls, value: object) -> Roster:
        """Return the roster that was dumped.

        :raises ValueError: for anything else.
        """
        if not isinstance(value, dict) or len(value) > MAX_MEMBERS:
            raise ValueError("no roster")
        return cls({name: _member(name, each) for name, each in value.items()})


def _member(name: str, value: object) -> Member:
    if not valid_identity(name) or not isinstance(value, list) or len(value) != 2:
        raise ValueError("no member of a roster")
    seen, gone = value
    return Member(_time(seen), None if gone is None else _time(gone))


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise ValueError("no time")
    return float(value)


def learn(
    roster: Roster,
    job: Job,
    outcome: Outcome,
    now: float,
    *,
    goodbyes: Collection[str] = (),
    searched: bool = True,
) -> None:
    """Take in what a run has shown.

    :param goodbyes: identities whose shutdown events were heard meanwhile. One host may run
        several services under one identity, so that who answered as well stays.
    :param searched: whether there was a discovery; else only answers count.
    """
    seen = {*outcome.late, *outcome.sighted, *(answer.sender for answer in outcome.answers)}
    if searched:
        seen.update(outcome.discovered)
    roster.see(seen, now)
    roster.leave(set(goodbyes) - seen, now)
    if job.agent != "backplane":
        return
    done = [answer.sender for answer in outcome.good]
    target, to = job.data.get("target"), job.data.get("to")
    if job.action == "shutdown":
        roster.leave(done, now)
    elif job.action == "change" and target == "shutdown":
        # Until the time that was given; "none" calls it off.
        digits = isinstance(to, str) and to.isascii() and to.isdigit() and len(to) < 12
        if digits:
            roster.leave(done, max(now, float(str(to))))
        else:
            roster.stay(done, now)
    elif job.action == "end" and target == "shutdown":
        roster.stay(done, now)


def network_of(brokers: Iterable[str]) -> str:
    """Return what a network is known by: its brokers' addresses, without credentials."""
    names = set()
    for broker in brokers:
        try:
            names.add(parse_server(broker).address.lower())
        except ValueError:
            names.add(broker.rpartition("@")[2])
    return ",".join(sorted(names))


class Rosters:
    """The rosters of a user: a file for each service.

    What cannot be read or written is a warning: no command fails for it.

    :param folder: where the files are; ``None`` when there is no place for them.
    :param warn: told what is wrong, at most once for each file.
    """

    def __init__(self, folder: str | None, warn: Callable[[str], None]) -> None:
        self._folder = None if folder is None else os.path.join(folder, "roster")
        self._warn = warn
        self._warned: set[str] = set()

    def services(self) -> list[str]:
        """Return the services that have a roster."""
        try:
            names = os.listdir(self._folder) if self._folder is not None else []
        except OSError:
            return []
        found = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return sorted(name for name in found if name.isalnum())

    def read(self, service: str, now: float) -> dict[tuple[str, str], Roster]:
        """Return the rosters of a service, by network and collective."""
        path = self._path(service)
        if path is None:
            return {}
        try:
            rosters = dict(_rosters(read_json(path, {"version": VERSION, "rosters": []})))
        except (OSError, ValueError) as error:
            self._complain(path, f"cannot be used ({_reason(error)}), so nobody is expected")
            return {}
        for roster in rosters.values():
            roster.age(now)
        return rosters

    def get(self, service: str, network: str, collective: str, now: float) -> Roster:
        """Return a roster, an empty one if there is none."""
        return self.read(service, now).get((network, collective)) or Roster()

    def change(
        self, service: str, now: float, change: Callable[[dict[tuple[str, str], Roster]], None]
    ) -> None:
        """Change the rosters of a service, which others may change as well."""
        path = self._path(service)
        if path is None:
            return
        try:
            with locked(path):
                rosters = self.read(service, now)
                change(rosters)
                document = {
                    "version": VERSION,
                    "rosters": [
                        {"network": network, "collective": collective, "members": roster.dump()}
                        for (network, collective), roster in sorted(rosters.items())
                        if roster.members
                    ],
                }
                if document["rosters"]:
                    write_json(path, document)
                elif os.path.exists(path):
                    os.unlink(path)
        except OSError as error:
            self._complain(path, f"cannot be written: {_reason(error)}")

    def update(
        self,
        service: str,
        network: str,
        collective: str,
        now: float,
        change: Callable[[Roster], None],
    ) -> None:
        """Change one roster."""

        def within(rosters: dict[tuple[str, str], Roster]) -> None:
            change(rosters.setdefault((network, collective), Roster()))

        self.change(service, now, within)

    def _path(self, service: str) -> str | None:
        return None if self._folder is None else os.path.join(self._folder, f"{service}.json")

    def _complain(self, path: str, text: str) -> None:
        if path not in self._warned:
            self._warned.add(path)
            self._warn(f"the roster {path} {text}")


def _rosters(document: Any) -> Iterator[tuple[tuple[str, str], Roster]]:
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError("not a roster of this version")
    entries = document.get("rosters")
    if not isinstance(entries, list):
        raise ValueError("no list of rosters")
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError("an entry that is no roster")
        network, collective = entry.get("network"), entry.get("collective")
        if not isinstance(network, str) or not isinstance(collective, str):
            raise ValueError("a roster of nowhere")
        yield (network, collective), Roster.load(entry.get("members"))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
