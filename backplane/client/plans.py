"""A plan: what would be done to whom, and what they were when it was made. Pure.

A plan is applied as long as the fleet is what it says: the same services in the same state.
What is sent then carries what each service is expected to be, so that it refuses by itself
what came in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.choria.filter import Filter, decode_filter, encode_filter
from backplane.client.changes import means
from backplane.client.jobs import Job
from backplane.client.states import State
from backplane.errors import DecodeError
from backplane.security.names import valid_identity

__all__ = ["Plan", "PlanError", "Planned", "differences", "expectations", "misfit"]

KEY: Final = "backplane_plan"
VERSION: Final = 1

MAX_TARGETS: Final = 100_000


class PlanError(ValueError):
    """A file is no plan that can be used."""


@attrs.frozen
class Planned:
    """One identity of a plan.

    :ivar states: of the services that have it: none of those that did not answer, more than
        one where some share the identity.
    :ivar meant: false for one that matched and was left out by a limit.
    """

    identity: str
    count: int = 1
    states: tuple[State, ...] = ()
    meant: bool = True


@attrs.frozen(kw_only=True)
class Plan:
    """What would be done to whom.

    :ivar named: identities that the operator has named.
    :ivar made: Unix time; ``by`` the caller id of who made it.
    """

    service: str
    collective: str
    verb: str
    agent: str
    action: str
    data: Mapping[str, Any]
    filter: Filter
    everyone: bool
    named: frozenset[str]
    targets: tuple[Planned, ...]
    made: float
    by: str

    @classmethod
    def of(cls, job: Job, targets: Iterable[Planned], made: float, by: str) -> Plan:
        """Return the plan of a job."""
        return cls(
            service=job.service,
            collective=job.collective,
            verb=job.spoken,
            agent=job.agent,
            action=job.action,
            data=dict(job.data),
            filter=job.filter,
            everyone=job.everyone,
            named=job.rule.named,
            targets=tuple(targets),
            made=made,
            by=by,
        )

    @property
    def meant(self) -> tuple[str, ...]:
        """The identities to which it would be done."""
        return tuple(each.identity for each in self.targets if each.meant)

    def job(self, job: Job) -> Job:
        """Return the job that does it, with the times of ``job``."""
        # Who is expected is in the plan; of the others nobody says that they should be there.
        planned = frozenset(each.identity for each in self.targets)
        return attrs.evolve(
            job,
            agent=self.agent,
            action=self.action,
            data=self.data,
            filter=self.filter,
            everyone=self.everyone,
            rule=attrs.evolve(job.rule, named=self.named, known=planned),
            roster=planned,
            faded=frozenset(),
            whole=True,
            verb="" if self.verb == self.action else self.verb,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            KEY: VERSION,
            "service": self.service,
            "collective": self.collective,
            "verb": self.verb,
            "agent": self.agent,
            "action": self.action,
            "data": dict(self.data),
            "made": self.made,
            "by": self.by,
            "everyone": self.everyone,
            "filter": encode_filter(self.filter),
            "named": sorted(self.named),
            "targets": [
                {
                    "identity": each.identity,
                    "count": each.count,
                    "meant": each.meant,
                    "states": [state.as_dict() for state in each.states],
                }
                for each in self.targets
            ],
        }

    @classmethod
    def from_dict(cls, value: object) -> Plan:
        """Read what :meth:`as_dict` returns.

        :raises PlanError: for anything else.
        """
        if not isinstance(value, dict) or KEY not in value:
            raise PlanError("it is no plan")
        if value[KEY] != VERSION or isinstance(value[KEY], bool):
            raise PlanError(f"it is a plan of version {value[KEY]!r}, not {VERSION}")
        targets = _get(value, "targets", list)
        if not targets or len(targets) > MAX_TARGETS:
            raise PlanError(f"it has {len(targets)} targets")
        named = _get(value, "named", list)
        try:
            found = decode_filter(_get(value, "filter", dict))
        except DecodeError as error:
            raise PlanError(f"filter: {error}") from None
        plan = cls(
            filter=found,
            everyone=_get(value, "everyone", bool),
            named=frozenset(_identity(name) for name in named),
            data=_get(value, "data", dict),
            targets=tuple(_planned(each) for each in targets),
            made=float(_get(value, "made", (int, float))),
            **{
                key: _get(value, key, str)
                for key in ("service", "collective", "verb", "agent", "action", "by")
            },
        )
        if len({each.identity for each in plan.targets}) < len(targets):
            raise PlanError("it names somebody twice")
        if not plan.meant:
            raise PlanError("it is for nobody")
        if plan.agent != "backplane" or not means(plan.verb, plan.action, plan.data):
            raise PlanError(
                f"it is damaged: {plan.verb[:60]} does not mean the action {plan.action[:60]} "
                "with the inputs that it has"
            )
        return plan


def _planned(value: object) -> Planned:
    if not isinstance(value, dict):
        raise PlanError("a target is no object")
    states = [State.from_dict(each) for each in _get(value, "states", list)]
    if None in states:
        raise PlanError("a state of a target is none")
    count = _get(value, "count", int)
    if count < 1:
        raise PlanError(f"{count} services of one identity")
    return Planned(
        identity=_identity(value.get("identity")),
        count=count,
        states=tuple(state for state in states if state is not None),
        meant=_get(value, "meant", bool),
    )


def _identity(value: object) -> str:
    if not isinstance(value, str) or not valid_identity(value):
        raise PlanError(f"{str(value)[:60]!r} is not an identity")
    return value


def _get(value: Mapping[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    found = value.get(key)
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise PlanError(f"{key} is missing, or not what it should be")
    return found


def misfit(plan: Plan, job: Job) -> str:
    """Return why a plan is not one of what is asked for now, or ``""``.

    What the operator repeats of the plan's inputs must be the same; the rest is the plan's.
    """
    for what, planned, asked in (
        ("service", plan.service, job.service),
        ("collective", plan.collective, job.collective),
        ("command", plan.verb, job.spoken),
    ):
        if planned != asked:
            return f"it is for the {what} {planned}, not {asked}"
    if job.data and plan.action != job.action:
        return f"in it {plan.verb} is the action {plan.action}, not {job.action}"
    for key, value in job.data.items():
        if plan.data.get(key) != value:
            return f"in it {key} is {plan.data.get(key)!r}, not {value!r}"
    return ""


def differences(
    plan: Plan, found: Mapping[str, int], states: Mapping[str, Sequence[State]]
) -> list[str]:
    """Return how a fleet differs from what a plan says, a line for each difference."""
    planned = {each.identity: each for each in plan.targets}
    lines: list[str] = []
    for name in sorted(planned.keys() | found.keys()):
        before = planned.get(name)
        count = found.get(name, 0)
        if before is None:
            lines.append(f"{name}: new since the plan")
        elif not count:
            lines.append(f"{name}: not there any more")
        elif count != before.count:
            lines.append(f"{name}: {count} services of this identity, {before.count} in the plan")
        elif before.meant:
            difference = _difference(before.states, states.get(name, ()))
            if difference:
                lines.append(f"{name}: {difference}")
    return lines


def _difference(before: Sequence[State], now: Sequence[State]) -> str:
    """Return in what states differ; of services that share an identity the order does not count."""
    if len(before) != len(now):
        return "did not answer" if len(now) < len(before) else "answers now"
    was, is_ = sorted(before, key=State.key), sorted(now, key=State.key)
    return next((text for a, b in zip(was, is_, strict=True) if (text := a.difference(b))), "")


def expectations(plan: Plan, names: Sequence[str]) -> list[tuple[tuple[str, ...], str | None]]:
    """Return whom to ask together, with the value that they are expected to have.

    Those of one value get the same request. There is none for actions that expect nothing, and
    for services that did not say.
    """
    target = plan.data.get("target")
    if plan.action != "change" or not isinstance(target, str):
        return [(tuple(names), None)]
    planned = {each.identity: each for each in plan.targets}
    groups: dict[str | None, list[str]] = {}
    for name in names:
        values = {state.targets.get(target) for state in planned[name].states}
        value = values.pop() if len(values) == 1 else None
        groups.setdefault(value, []).append(name)
    return [(tuple(group), value) for value, group in groups.items()]
