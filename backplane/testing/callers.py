"""Callers in an application's tests: what they ask, and what became of it in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from backplane.choria.rpc import RpcReply, StatusCode
from backplane.client.accounting import Outcome
from backplane.node.dispatch import DENIED
from backplane.testing.pki import Issued

__all__ = ["Caller", "Result"]


@attrs.frozen(kw_only=True)
class Result:
    """What became of one request to one service.

    :ivar verdict: in a line: ``ok``, ``failed: no such order``, ``denied: read_only``
        or ``dropped: expired``.
    :ivar rule: what decided: ``full``, ``read_only``, ``no role``, ``policy line 7``;
        or the reason for which the service dropped it without a word.
    :ivar reply: the service's reply; ``None`` when it gave none.
    """

    verdict: str
    rule: str
    reply: RpcReply | None

    @property
    def ok(self) -> bool:
        """Whether the action was done."""
        return self.reply is not None and self.reply.ok

    @property
    def denied(self) -> bool:
        """Whether the caller may not do that."""
        return self.verdict.startswith("denied")

    @property
    def dropped(self) -> bool:
        """Whether the service did not even answer, as it does not believe the caller."""
        return self.reply is None

    @property
    def message(self) -> str:
        """What the caller is told; empty where he is told nothing."""
        return "" if self.reply is None else self.reply.message

    @property
    def data(self) -> Mapping[str, Any]:
        """What the action returned."""
        return {} if self.reply is None else self.reply.data


class _Harness(Protocol):
    """What a caller needs of :class:`~backplane.testing.harness.Harness`."""

    @property
    def request(self) -> Callable[..., Outcome]: ...

    def drops(self) -> Mapping[str, int]: ...

    def audited(self) -> list[dict[str, Any]]: ...


class Caller:
    """Somebody who asks; :meth:`backplane.testing.Harness.as_full` and others make one.

    Every action takes what :meth:`backplane.testing.Harness.request` takes by name.

    :ivar name: his certname.
    :ivar caller_id: the same, as services see it.
    """

    def __init__(self, harness: _Harness, name: str, certificate: Issued | None = None) -> None:
        self.name = name
        self.caller_id = f"choria={name}"
        self._harness = harness
        self._certificate = certificate

    def request(self, action: str, data: Mapping[str, Any] | None = None, **how: Any) -> Outcome:
        """Ask all services that match; see :meth:`backplane.testing.Harness.request`."""
        return self._harness.request(
            action, data, caller=self.name, certificate=self._certificate, **how
        )

    def ask(self, action: str, data: Mapping[str, Any] | None = None, **how: Any) -> Result:
        """Ask the one service that matches.

        :raises AssertionError: when more than one answers, or none and not for the caller's
            sake.
        """
        before = self._harness.drops()
        outcome = self.request(action, data, **how)
        if len(outcome.answers) == 1:
            return self._answered(outcome.answers[0].reply, outcome.request_id)
        drops = [
            reason
            for reason, count in self._harness.drops().items()
            if count > before.get(reason, 0) and reason != "filtered"
        ]
        if outcome.answers or not drops:
            raise AssertionError(
                f"{action}: {outcome.count} services found, {len(outcome.answers)} answered"
            )
        rule = ", ".join(drops)
        return Result(verdict=f"dropped: {rule}", rule=rule, reply=None)

    def _answered(self, reply: RpcReply, request_id: str) -> Result:
        rules = [
            str(line["rule"])
            for line in self._harness.audited()
            if line["request_id"] == request_id
        ]
        rule = rules[-1] if rules else ""
        if reply.ok:
            verdict = "ok"
        elif (reply.status, reply.message) == (StatusCode.ABORTED, DENIED):
            verdict = f"denied: {rule}" if rule else "denied"
        else:
            verdict = f"failed: {reply.message}"
        return Result(verdict=verdict, rule=rule, reply=reply)

    # The actions of the agent ``backplane``; ``ask`` is for the others.

    def info(self, **how: Any) -> Result:
        """Ask what the service is."""
        return self.ask("info", **how)

    def ping(self, **how: Any) -> Result:
        """Ask whether it is there."""
        return self.ask("ping", **how)

    def health(self, **how: Any) -> Result:
        """Ask how it is."""
        return self.ask("health", **how)

    def pause(self, **how: Any) -> Result:
        """Pause it."""
        return self.ask("pause", **how)

    def resume(self, **how: Any) -> Result:
        """Resume it."""
        return self.ask("resume", **how)

    def flip(self, **how: Any) -> Result:
        """Pause it if it works, resume it if it is paused."""
        return self.ask("flip", **how)

    def shutdown(self, **how: Any) -> Result:
        """Stop it, some seconds later: see :meth:`backplane.testing.Harness.advance`."""
        return self.ask("shutdown", **how)

    def change(
        self,
        target: str,
        to: str,
        *,
        seconds: int | None = None,
        why: str | None = None,
        expect: str | None = None,
        **how: Any,
    ) -> Result:
        """Change a target, such as ``breaker:payments`` to ``open``.

        :param seconds: after which it is taken back; for ever by default.
        :param expect: the id of the change, or the value, that has to be there.
        """
        data = {"target": target, "to": to, "for": seconds, "why": why, "expect": expect}
        return self.ask("change", _given(data), **how)

    def end(
        self,
        *,
        change: str | None = None,
        run: str | None = None,
        target: str | None = None,
        why: str | None = None,
        **how: Any,
    ) -> Result:
        """Take back a change, what one run has changed, or the newest change of a target."""
        data = {"change": change, "run": run, "target": target, "why": why}
        return self.ask("end", _given(data), **how)

    def changes(self, last: int | None = None, **how: Any) -> Result:
        """Ask what is changed, and what has been: the ``last`` entries of its history."""
        return self.ask("changes", _given({"last": last}), **how)


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}
