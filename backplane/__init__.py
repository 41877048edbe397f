"""An embeddable Choria management backplane for services on Twisted."""

from backplane._version import __version__
from backplane.choria.ddl import Input, Metadata, Output
from backplane.choria.rpc import ActionError, StatusCode
from backplane.config.service import load_file
from backplane.config.settings import StandardConfiguration
from backplane.errors import BackplaneError, ConfigError, StateError
from backplane.interfaces import DataItem, LogLevel, blocking
from backplane.node.agent import ActionRequest, Agent, action
from backplane.node.outbox import ItemRefused, OutboxFull
from backplane.node.presence import ManagementState, Phase
from backplane.service import Management

__all__ = [
    "ActionError",
    "ActionRequest",
    "Agent",
    "BackplaneError",
    "ConfigError",
    "DataItem",
    "Input",
    "ItemRefused",
    "LogLevel",
    "Management",
    "ManagementState",
    "Metadata",
    "OutboxFull",
    "Output",
    "Phase",
    "StandardConfiguration",
    "StateError",
    "StatusCode",
    "__version__",
    "action",
    "blocking",
    "load_file",
]
