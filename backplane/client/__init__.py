"""An operator on the network: discover, request, account; with Deferreds and for asyncio."""

from backplane.client.accounting import Answer, ExitCode, Outcome, Stop
from backplane.client.aio import AsyncClient
from backplane.client.client import Client
from backplane.client.jobs import Job, make_job
from backplane.client.run import Operator, Progress

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ExitCode",
    "Job",
    "Operator",
    "Outcome",
    "Progress",
    "Stop",
    "make_job",
]
