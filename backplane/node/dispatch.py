"""From an accepted request to the text of its reply.

Actions run with a deadline of the agent's timeout less one second, so that a
caller hears of a hung one before he gives up. Actions that change something
run one at a time: while one has not returned, the next is refused at once, by
name. Reads go on beside it.

Source: mcorpc requests and replies, status codes, order of the checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from backplane.change import Entry, Outcome
from backplane.choria import rpc
from backplane.choria.ddl import check_inputs
from backplane.choria.message import Request
from backplane.choria.rpc import ActionError, StatusCode
from backplane.errors import LocalError
from backplane.logs import printable
from backplane.node.agent import Action, ActionRequest, Agent, PlainAgent
from backplane.node.auditing import Auditor
from backplane.node.authorization import Authorization, Decision
from backplane.node.calling import CallError, Overdue
from backplane.node.description import describe
from backplane.node.invoking import ThreadRunner, in_thread, invoke
from backplane.security.audit import AuditEntry
from backplane.security.roles import Role

__all__ = ["DENIED", "Dispatcher"]

DENIED: Final = "You are not authorized to call this agent or action."

MAX_RUNNING: Final = 500
"""Requests whose actions may be under way together; more than that is a flood."""


@attrs.frozen
class _Change:
    agent: str
    action: str
    caller_id: str
    started: float


class Dispatcher:
    """Runs the actions of agents.

    :param agents: by name.
    :param clock: for deadlines.
    :param threads: runs actions marked blocking.
    :param authorization: who may.
    :param auditor: writes it down.
    :param note: takes entries of the history: what is refused, and what changes something.
    :param now: wall-clock time, for these.
    """

    def __init__(
        self,
        agents: Mapping[str, Agent],
        clock: IReactorTime,
        threads: ThreadRunner,
        log: Logger,
        authorization: Authorization,
        auditor: Auditor,
        note: Callable[[Entry], None] = lambda entry: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._agents = agents
        self._clock = clock
        self._threads = threads
        self._log = log
        self._authorization = authorization
        self._auditor = auditor
        self._note = note
        self._now = now
        self._change: _Change | None = None
        self._asked: tuple[bytes, rpc.RpcRequest] | None = None
        self._running: set[Deferred[Any]] = set()
        self._idle: list[Deferred[None]] = []

    @property
    def running(self) -> int:
        """How many actions are under way."""
        return len(self._running)

    def is_change(self, agent: str, body: bytes) -> bool:
        """Say whether this body asks for an action that changes something."""
        try:
            asked = self._read(body)
        except ActionError:
            return False
        found = self._agents[agent].actions().get(asked.action) if agent in self._agents else None
        return found is not None and found.changes

    def _read(self, body: bytes) -> rpc.RpcRequest:
        """Read a body; that of one request only once, though it is asked about twice."""
        if self._asked is not None and self._asked[0] is body:
            _, asked = self._asked
            self._asked = None
            return asked
        asked = rpc.decode_request(body)
        self._asked = body, asked
        return asked

    def dispatch(
        self, request: Request, body: bytes, role: Role | None, signer: str | None = None
    ) -> Deferred[str | None]:
        """Run the action that ``body`` asks for.

        :param signer: certificate name of who signed the request, for the audit log.
        :returns: the reply body, or ``None`` for silence; never fails.
        """
        agent = self._agents[request.agent]
        if isinstance(agent, PlainAgent):
            return succeed(agent.answer(body))
        name = ""
        try:
            asked = self._read(body)
            name = asked.action
            found = agent.actions().get(name)
            if found is None:
                raise ActionError(
                    f"Unknown action {printable(name)} for agent {request.agent}",
                    StatusCode.UNKNOWN_ACTION,
                )
            entry = self._auditor.entry(request, name, asked.data, signer)
            rule = self._allowed(request, asked, found, role, entry)
            data = self._inputs(found, request, asked, entry)
            record = self._auditor.begin(entry, rule, found.changes)
        except ActionError as error:
            done: Deferred[Any] = Deferred()
            done.errback(Failure(error))
        else:
            done = self._run(agent, found, _action_request(request, name, data))
            done.addBoth(record.ended)
            if found.changes:
                done.addBoth(self._noted, request, asked)
        done.addCallback(lambda result: rpc.encode_reply(name, StatusCode.OK, "OK", _data(result)))
        return done.addErrback(self._failed, request, name)

    def _allowed(
        self,
        request: Request,
        asked: rpc.RpcRequest,
        action: Action,
        role: Role | None,
        entry: AuditEntry,
    ) -> str:
        """Return what allows the action; :raises ActionError: when nothing does."""
        decision = self._authorization.decide(request.agent, action, request.caller_id, role)
        if asked.agent != request.agent:
            decision = Decision(False, "the body names another agent")
        if decision.allowed:
            return decision.rule
        self._log.info(
            "{caller} may not call {agent}#{action}: {rule}",
            caller=printable(request.caller_id),
            agent=request.agent,
            action=action.name,
            rule=decision.rule,
        )
        self._auditor.refused(entry, decision.rule)
        self._tell(request, asked, "refused", decision.rule)
        raise ActionError(DENIED)

    def _inputs(
        self, action: Action, request: Request, asked: rpc.RpcRequest, entry: AuditEntry
    ) -> object:
        if not action.checked:
            return asked.data
        try:
            return check_inputs(action.declaration, asked.data)
        except ActionError as error:
            self._auditor.refused(entry, "bad inputs")
            self._tell(request, asked, "refused", error.message)
            raise

    def _noted(self, result: Any, request: Request, asked: rpc.RpcRequest) -> Any:
        """Tell the history what came of a change; passes ``result`` on."""
        if isinstance(result, Failure):
            error = result.value
            text = error.message if isinstance(error, ActionError) else describe(result)
            self._tell(request, asked, "failed", text)
        else:
            self._tell(request, asked, "done", "")
        return result

    def _tell(self, request: Request, asked: rpc.RpcRequest, outcome: Outcome, detail: str) -> None:
        why = asked.data.get("why") if isinstance(asked.data, Mapping) else None
        place = "" if request.agent == "backplane" else f"{request.agent}#"
        self._note(
            Entry(
                at=self._now(),
                who=request.caller_id,
                what=f"{place}{printable(asked.action, 64)}",
                outcome=outcome,
                why=printable(why) if isinstance(why, str) else "",
                detail=printable(detail, 300),
                run=request.request_id,
            )
        )

    def refused(self, request: Request, body: bytes, reason: str, signer: str | None) -> None:
        """Write down that a request was refused before it came here."""
        try:
            asked = rpc.decode_request(body)
        except ActionError:
            return
        self._auditor.refused(
            self._auditor.entry(request, asked.action, asked.data, signer), reason
        )
        self._tell(request, asked, "refused", reason)

    def when_idle(self) -> Deferred[None]:
        """Fire when no action is under way."""
        if not self._running:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._idle.append(waiter)
        return waiter

    def cancel(self) -> None:
        """Cancel the actions under way; for stopping."""
        for running in list(self._running):
            running.cancel()
            # A thread does not end by that, and nothing may wait for it.
            self._ended(running)

    def _ended(self, answer: Deferred[Any]) -> None:
        self._running.discard(answer)
        if not self._running:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)

    def _run(self, agent: Agent, action: Action, request: ActionRequest) -> Deferred[Any]:
        if len(self._running) >= MAX_RUNNING:
            return _refused(f"{len(self._running)} requests are under way already")
        if action.changes:
            if self._change is not None:
                change = self._change
                age = self._clock.seconds() - change.started
                return _refused(
                    f"{change.action}, asked by {change.caller_id} {age:.0f} s ago, "
                    "has not returned",
                    "busy",
                )
            self._change = _Change(
                request.agent, request.action, request.caller_id, self._clock.seconds()
            )
        threaded = in_thread(agent.calls, action.run)
        call = invoke(agent.calls, self._threads, action.run, request)
        if call.called and not call.paused and not action.changes and not threaded:
            return call  # it has returned already, and needs no deadline

        def abandon() -> None:
            # A thread cannot be cancelled; it is left, and its change stays under way.
            if not threaded:
                call.cancel()

        def cancelled(answer: Deferred[Any]) -> None:
            if overdue is not None:
                overdue.cancel()
            abandon()

        answer: Deferred[Any] = Deferred(cancelled)
        self._running.add(answer)
        deadline = max(1.0, agent.metadata.timeout - 1.0)

        def give_up() -> None:
            text = f"{action.name} has not returned after {deadline:g} s"
            answer.errback(Failure(ActionError(text, StatusCode.UNKNOWN_ERROR)))
            self._ended(answer)
            abandon()

        overdue: IDelayedCall | None = None

        def returned(result: object) -> None:
            if action.changes:
                left = _left_thread(result)
                if left is None:
                    self._change = None
                else:
                    left.addCallback(self._change_returned)
            if overdue is not None and overdue.active():
                overdue.cancel()
            if not answer.called:
                answer.callback(result)
                self._ended(answer)
            elif isinstance(result, Failure) and not result.check(CancelledError):
                self._log.failure(
                    "{agent}#{action} failed after its deadline",
                    result,
                    agent=request.agent,
                    action=request.action,
                )

        call.addBoth(returned)
        if not answer.called:
            overdue = self._clock.callLater(deadline, give_up)
        return answer

    def _change_returned(self, result: object) -> None:
        self._change = None

    def _failed(self, failure: Failure, request: Request, action: str) -> str:
        error = failure.value
        if isinstance(error, ActionError):
            return rpc.encode_reply(action, error.status, error.message, error.data or {})
        if isinstance(error, CallError):
            return rpc.encode_reply(action, StatusCode.UNKNOWN_ERROR, str(error), {})
        if failure.check(CancelledError):
            text = f"{action} was cancelled because the service stops"
            return rpc.encode_reply(action, StatusCode.UNKNOWN_ERROR, text, {})
        why = describe(failure)
        if isinstance(error, LocalError):  # a traceback would say no more
            self._log.warn(
                "{agent}#{action} failed: {why}",
                agent=request.agent,
                action=printable(action),
                why=why,
            )
        else:
            self._log.failure(
                "{agent}#{action} failed", failure, agent=request.agent, action=printable(action)
            )
        text = f"{printable(action)} failed: {why}"
        return rpc.encode_reply(action, StatusCode.UNKNOWN_ERROR, text, {})


def _data(result: object) -> Mapping[str, Any]:
    # Pairs and texts would make a dict too, and None an error that explains nothing.
    if not isinstance(result, Mapping):
        raise TypeError(f"an action returns a mapping, not {type(result).__name__}")
    return result


def _left_thread(result: object) -> Deferred[None] | None:
    """Return what fires when the thread that a call left behind ends."""
    error = result.value if isinstance(result, Failure) else None
    return error.left if isinstance(error, Overdue) else None


def _refused(text: str, reason: str = "") -> Deferred[Any]:
    refused: Deferred[Any] = Deferred()
    data = {"reason": reason} if reason else None
    refused.errback(Failure(ActionError(text, StatusCode.UNKNOWN_ERROR, data)))
    return refused


def _action_request(request: Request, action: str, data: object) -> ActionRequest:
    return ActionRequest(
        agent=request.agent,
        action=action,
        # What takes no inputs ignores whatever is sent as them.
        data=data if isinstance(data, Mapping) else {},
        caller_id=request.caller_id,
        sender_id=request.sender_id,
        request_id=request.request_id,
        collective=request.collective,
        ttl=request.ttl,
        time=request.time,
    )
