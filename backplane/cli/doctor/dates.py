"""Dates of certificates: whether one is valid at a time, and for how long. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

from cryptography import x509

from backplane.cli.doctor.findings import Finding, failed, ok, warning
from backplane.cli.doctor.party import counted
from backplane.client.accounting import ExitCode
from backplane.security.certificates import describe

__all__ = ["RENEW", "SOON", "dates", "day", "time_of"]

SOON: Final = 30
"""Days before a certificate's end from which that is told."""

RENEW: Final = "renew it: ask the authority for a new certificate, and put it in place of this one"


def dates(
    check: str,
    certificate: x509.Certificate,
    now: float,
    *,
    cause: ExitCode = ExitCode.FAILED,
    fix: str = RENEW,
) -> Finding:
    """Say whether a certificate is valid, and for how long."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    who, at = describe(certificate), time_of(now)
    if end < at:
        return failed(check, f"{who} expired {_ago(end, at)}, on {day(end)}", fix, cause)
    if begin > at:
        return failed(
            check,
            f"{who} is valid from {day(begin)} only, and this clock says {day(at)}",
            "correct the clock, or wait",
            cause,
        )
    left = (end - at).days
    if left < SOON:
        return warning(check, f"{who} expires in {counted(left, 'day')}, on {day(end)}", fix)
    return ok(check, f"{who} is valid until {day(end)}, {left} days from now")


def time_of(now: float) -> datetime:
    """Return Unix time with its zone."""
    return datetime.fromtimestamp(now, timezone.utc)


def day(when: datetime) -> str:
    """Return a time for people, to the minute."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _ago(then: datetime, now: datetime) -> str:
    days = (now - then).days
    return {0: "today", 1: "a day ago"}.get(days, f"{days} days ago")
