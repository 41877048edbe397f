"""Which messages a service acts upon: bytes, subject and time in, a decision out.

The order is the point. Before the caller is verified, only what depends on
public things is looked at: size, shape, reply-to, age, collective, agent,
identity. Then certificate and signature. Only then do the caller's role, the
filters that look at facts and classes, and the memory of earlier requests have
their say, so that nobody learns anything about this service by asking under
another's name, and nobody fills its memory.

A message that is dropped gets no answer of any kind. Only a verified caller's
change that cannot be told from a repeat is refused with a text.

Pure: no clock, no network, no log. Whoever calls it logs what is dropped.
Sources: Choria protocol 1.10, 1.12 and 11.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from backplane.choria import v1
from backplane.choria.filter import Budget, NodeView, matches, matches_public
from backplane.choria.message import Request
from backplane.choria.subjects import check_reply_to
from backplane.choria.v1 import SecureRequest, Transport
from backplane.errors import DecodeError
from backplane.node.outcome import Accepted, Counters, Dropped, Outcome, Refused, Wait
from backplane.security.names import certname_of
from backplane.security.replay import ReplayMemory, Verdict
from backplane.security.roles import Role
from backplane.security.signing import Verifier

__all__ = ["MAX_PAYLOAD", "MAX_TTL", "MIN_TTL", "Admission"]

MAX_PAYLOAD: Final = 1024 * 1024
"""Largest message that is read, in bytes: what brokers take by default. Requests
of real clients have some kilobytes."""

MIN_TTL: Final = 30
"""Shortest time to live in seconds, as Choria's schema has it."""

MAX_TTL: Final = 600
"""Longest time to live in seconds. Clients use 60; each request must be
remembered for that long."""

_PUBLIC_FACTS: Final = "backplane_"


class _Drop(Exception):
    """Ends the walk with a :class:`Dropped`."""

    def __init__(self, reason: str, detail: str) -> None:
        self.outcome = Dropped(reason, detail)
        super().__init__(detail)


class Admission:
    """Decides about messages for one service.

    :ivar counters: of all messages so far.
    """

    def __init__(
        self,
        *,
        identity: str,
        collectives: Sequence[str],
        agents: Callable[[], Sequence[str]],
        facts: Callable[[Role | None], Mapping[str, Any]],
        classes: Callable[[], Sequence[str]],
        verifier: Verifier,
        role_of: Callable[[str], Role | None],
        replay: ReplayMemory,
        started: float,
        is_change: Callable[[str, bytes], bool],
        reply_to_extras: Sequence[str] = (),
        max_ttl: int = MAX_TTL,
        max_payload: int = MAX_PAYLOAD,
        hidden: bool = False,
    ) -> None:
        """
        :param identity: this node's.
        :param collectives: those that this node is in.
        :param agents: names of the agents that are loaded.
        :param facts: returns what filters of a caller with that role may see;
            must not raise.
        :param classes: this node's classes; must not raise.
        :param verifier: says whether a request is its caller's.
        :param role_of: given a caller id, returns the role.
        :param started: Unix time at which this process began.
        :param is_change: given agent and body, whether the request would change
            anything; must not raise.
        :param reply_to_extras: further subjects that callers may be answered on.
        :param max_ttl: cap on the time to live, in seconds.
        :param max_payload: largest message, in bytes.
        :param hidden: answer nothing at all to callers without a role.
        """
        self.counters = Counters()
        self._identity = identity
        self._collectives = frozenset(collectives)
        self._agents = agents
        self._facts = facts
        self._classes = classes
        self._verifier = verifier
        self._role_of = role_of
        self._replay = replay
        self._started = started
        self._is_change = is_change
        self._reply_to_extras = tuple(reply_to_extras)
        self._max_ttl = max_ttl
        self._max_payload = max_payload
        self._hidden = hidden

    def admit(self, payload: bytes, subject: str, now: float) -> Outcome:
        """Decide about one message.

        :param payload: of the NATS message.
        :param subject: that it arrived on.
        :param now: Unix time, with fractions.
        """
        try:
            outcome = self._walk(payload, subject, now)
        except DecodeError as error:
            outcome = Dropped(error.reason, f"{error.layer}: {error.detail}")
        except _Drop as drop:
            outcome = drop.outcome
        self.counters.count(outcome)
        if isinstance(outcome, Accepted):
            self.counters.last_message = now
        return outcome

    def _walk(self, payload: bytes, subject: str, now: float) -> Outcome:
        # What anybody may know.
        if len(payload) > self._max_payload:
            raise _Drop("too_large", f"{len(payload)} bytes, at most {self._max_payload} are read")
        transport = v1.decode_transport(payload)
        self._check_reply_to(transport)
        secure = v1.decode_secure_request(transport.data)
        request = v1.decode_request(secure.message)
        certname_of(request.caller_id)
        self._check_age(request, now)
        self._check_collective(request, subject)
        node = NodeView(
            identity=self._identity, agents=self._agents(), classes=(), facts={}, now=now
        )
        if request.agent not in node.agents:
            raise _Drop("unknown_agent", f"no agent {_quote(request.agent)} here")
        if not matches_public(request.filter, node):
            raise _Drop("filtered", "the agent or identity filter does not match")
        # Who it is.
        signer = self._verifier.verify(
            secure.message, secure.signature, secure.pubcert, request.caller_id, now
        )
        role = self._role_of(request.caller_id)
        if role is None and self._hidden:
            raise _Drop("hidden", f"{_quote(request.caller_id)} has no role")
        # What he may know.
        self._check_private_filter(request, role, node)
        body = v1.request_body(request.message)
        # A caller without a role changes nothing: he will hear that he may not.
        change = role is not None and self._is_change(request.agent, body)
        early = self._before_start(request, now) if change else None
        if isinstance(early, Wait):
            return early
        reason, message = early or self._remember(secure, request, now, change)
        if reason:
            return Refused(
                request=request,
                body=body,
                transport=transport,
                role=role,
                reason=reason,
                message=message,
                signer=signer,
            )
        return Accepted(request=request, body=body, transport=transport, role=role, signer=signer)

    def _check_reply_to(self, transport: Transport) -> None:
        if transport.reply_to is None:
            raise _Drop("no_reply_to", "the message does not say where to answer")
        reason = check_reply_to(transport.reply_to, self._reply_to_extras)
        if reason is not None:
            raise _Drop("bad_reply_to", f"reply-to {_quote(transport.reply_to)}: {reason}")

    def _check_age(self, request: Request, now: float) -> None:
        ttl, time = request.ttl, request.time
        if ttl > self._max_ttl:
            # Compared before anything is computed with it: it may have any size.
            raise _Drop("ttl_too_long", f"time to live above the cap of {self._max_ttl} s")
        if ttl < MIN_TTL:
            raise _Drop("ttl_too_short", f"time to live {ttl} s, below {MIN_TTL} s")
        if not now - ttl < time < now + ttl:
            reason = "future" if time > now else "expired"
            when = f"made at {_quote(time)}, time to live {ttl} s"
            raise _Drop(reason, f"from {_quote(request.caller_id)}, {when}")

    def _check_collective(self, request: Request, subject: str) -> None:
        name = request.collective
        if name not in self._collectives:
            raise _Drop("other_collective", f"collective {_quote(name)} is not ours")
        arrived = self._collective_of(subject)
        if arrived is not None and arrived != name:
            raise _Drop(
                "other_collective",
                f"made for collective {_quote(name)}, but sent to {_quote(subject)}",
            )

    def _collective_of(self, subject: str) -> str | None:
        """Return the collective of a request subject, or ``None`` for other subjects."""
        for name in self._collectives:
            if subject.startswith((f"{name}.broadcast.", f"{name}.node.")):
                return name
        first, _, rest = subject.partition(".")
        return first if rest.startswith(("broadcast.", "node.")) else None

    def _check_private_filter(self, request: Request, role: Role | None, node: NodeView) -> None:
        wanted = request.filter
        if not (wanted.fact or wanted.cf_class or wanted.compound):
            return
        facts = self._facts(role)
        if role is None:
            facts = {key: facts[key] for key in facts if str(key).startswith(_PUBLIC_FACTS)}
        else:
            node = attrs.evolve(node, classes=self._classes())
        budget = Budget()
        matched = matches(wanted, attrs.evolve(node, facts=facts), budget)
        if budget.exceeded:
            self.counters.over_budget += 1
        if not matched:
            raise _Drop("filtered", "the fact, class or compound filter does not match")

    def _before_start(self, request: Request, now: float) -> tuple[str, str] | Wait | None:
        """Decide about a change that an earlier process may have made already."""
        if now < self._started - 1:
            # The clock has been set back, so the process started at an earlier
            # time than it believed. Without this, changes would be refused until
            # the clock is there again.
            self._started = now
        second = math.floor(self._started)
        if request.time < second:
            return "before_start", (
                "this request was made before this service started, so it may have been "
                "carried out already; please send it again"
            )
        if request.time == second and now < second + 1:
            return Wait(second + 1)
        return None

    def _remember(
        self, secure: SecureRequest, request: Request, now: float, change: bool
    ) -> tuple[str, str]:
        """Return reason and text of a refusal, both empty when there is none."""
        verdict = self._replay.check(
            hashlib.sha256(secure.message.encode()).digest(),
            request.caller_id,
            request.time + request.ttl,
            now,
            change,
        )
        if verdict is Verdict.REPEATED:
            raise _Drop(
                "repeated",
                f"request {_quote(request.request_id)} of {_quote(request.caller_id)} again",
            )
        if verdict is Verdict.FULL:
            return "memory_full", (
                "too many requests are within their time to live, so that a repeat of this "
                "one could not be told; please try again in a minute"
            )
        if verdict is Verdict.UNSAVED:
            return "not_saved", (
                "this service cannot write its state file, so that a repeat of this request "
                "could not be told after a restart; nothing was done"
            )
        if verdict is Verdict.UNCERTAIN:
            return "clock_set_back", (
                "this service's clock was set back, so that a repeat of this request could "
                "not be told; please try again later"
            )
        return "", ""


def _quote(value: object) -> str:
    """Return remote text quoted, on one line, and short."""
    text = repr(value if isinstance(value, str) else str(value)[:60])
    return text if len(text) <= 80 else f"{text[:80]}…"
