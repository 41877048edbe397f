"""What the built-in agents declare of their outputs."""

from __future__ import annotations

from typing import Final

from backplane.choria.ddl import Aggregate, Output

__all__ = [
    "AMEND",
    "CHANGE",
    "CHANGES",
    "DUMP",
    "END",
    "INFO",
    "LEVEL",
    "LOGGERS",
    "PAUSED",
    "STALLS",
    "output",
    "summary",
]


def output(name: str, display_as: str, type_: str, description: str | None = None) -> Output:
    """Return an output; its description is what it is displayed as by default."""
    return Output(
        name=name,
        description=description if description is not None else display_as,
        display_as=display_as,
        type=type_,
    )


def summary(name: str) -> tuple[Aggregate, ...]:
    """Return the one aggregate that clients make of most outputs."""
    return (Aggregate(function="summary", args=(name,)),)


PAUSED: Final = Output(
    name="paused",
    description="Circuit Breaker pause state",
    display_as="Paused",
    type="boolean",
)
LEVEL: Final = Output(
    name="level",
    description="Log level that was activated",
    display_as="Log Level",
    type="string",
)


INFO: Final = (
    output("backplane_version", "Choria Backplane", "string", "Version of the backplane"),
    output("version", "Version", "string", "Version of the application"),
    PAUSED,
    output("facts", "Instance Facts", "Hash", "Facts of the application"),
    output("healthy", "Healthy", "boolean", "Health of the application"),
    output("loglevel", "Log Level", "string", "Active log level"),
    output("healthcheck_feature", "Health Feature", "boolean", "If health can be checked"),
    output("pause_feature", "Circuit Breaker Feature", "boolean", "If it can be paused"),
    output("shutdown_feature", "Shutdown Feature", "boolean", "If it can be shut down"),
    output("facts_feature", "Facts Feature", "boolean", "If it has facts"),
    output("loglevel_feature", "Log Level Feature", "boolean", "If its log level can be set"),
    output("health_state", "Health State", "string", "ok, failed, unknown or stale"),
    output("health_age", "Health Age", "float", "Seconds since the health was checked"),
    output("secure", "Secure", "boolean", "Are callers verified"),
    output("state", "State", "string", "running, draining, paused or stopping"),
    output("in_flight", "In Flight", "integer", "How much work is under way, if it says"),
    output("breakers", "Breakers", "Hash", "Its breakers by name: closed or open"),
    output("changes", "Changes", "Array", "What is changed from normal, by whom, until when"),
)

_TARGET: Final = output("target", "Target", "string", "What was changed")
_ID: Final = output("change", "Change", "string", "Id of the change")
_UNTIL: Final = output("until", "Until", "float", "Unix time at which it is taken back, or null")

CHANGE: Final = (
    _TARGET,
    output("value", "Value", "string", "What it is now"),
    output("before", "Before", "string", "What it was"),
    _ID,
    _UNTIL,
    output("in_flight", "In Flight", "integer", "How much work is under way, if it says"),
)

END: Final = (
    output("ended", "Ended", "Array", "Changes that were taken back"),
    output("refused", "Refused", "Array", "Changes that were not, and why"),
    output("nothing", "Nothing", "boolean", "If there was nothing to take back"),
)

AMEND: Final = (_TARGET, _ID, _UNTIL)

CHANGES: Final = (
    output("state", "State", "string", "running, draining, paused or stopping"),
    output("in_flight", "In Flight", "integer", "How much work is under way, if it says"),
    output("targets", "Targets", "Hash", "What can be changed, and what it is now"),
    output("live", "Live", "Array", "What is changed from normal, by whom, until when"),
    output("history", "History", "Array", "What was done, oldest first"),
    output("may", "May", "Array", "Actions that the caller may call"),
    output("breakers", "Breakers", "Hash", "Its breakers by name: closed or open"),
    output("loggers", "Loggers", "boolean", "If single loggers have levels"),
)

LOGGERS: Final = (
    output("loggers", "Loggers", "Hash", "By name, its own level and the one in force"),
    output("truncated", "Truncated", "boolean", "If some were left out"),
)

DUMP: Final = (
    output("threads", "Threads", "Array", "Every thread with its stack"),
    output("thread_count", "Thread Count", "integer", "How many threads there are"),
    output("delayed_calls", "Delayed Calls", "Array", "What the reactor will call"),
    output("delayed_call_count", "Delayed Call Count", "integer", "How many of these"),
    output("readers", "Readers", "Array", "What the reactor reads from"),
    output("reader_count", "Reader Count", "integer", "How many of these"),
    output("writers", "Writers", "Array", "What the reactor writes to"),
    output("writer_count", "Writer Count", "integer", "How many of these"),
    output("thread_pool", "Thread Pool", "Hash", "The reactor's thread pool"),
    output("deferreds", "Deferreds", "Array", "What waits for Deferreds that have not fired"),
    output("deferred_count", "Deferred Count", "integer", "How many of these"),
    output("tasks", "Tasks", "Array", "Tasks of asyncio that have not ended"),
    output("task_count", "Task Count", "integer", "How many of these"),
    output("truncated", "Truncated", "boolean", "If some of it was left out"),
)

STALLS: Final = (
    output("stalls", "Stalls", "Array", "Places in which the reactor was stuck"),
    output("watching", "Watching", "boolean", "If somebody looks whether it is stuck"),
)
