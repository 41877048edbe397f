"""What the built-in agents declare of their outputs."""

from __future__ import annotations

from typing import Final

from backplane.choria.ddl import Aggregate, Output

__all__ = ["DUMP", "INFO", "LEVEL", "PAUSED", "output", "summary"]


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
    output("truncated", "Truncated", "boolean", "If some of it was left out"),
)
