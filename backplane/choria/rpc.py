"""mcorpc bodies: what is asked of an agent and what it answers.

Source: Choria protocol 4.1 to 4.3.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

import attrs

from backplane.choria.documents import MAX_BODY_VALUES, dumps, parse_object, text
from backplane.errors import BackplaneError, DecodeError

__all__ = [
    "ActionError",
    "RpcReply",
    "RpcRequest",
    "StatusCode",
    "decode_reply",
    "decode_request",
    "encode_reply",
    "encode_request",
]


class StatusCode(enum.IntEnum):
    """How an action went."""

    OK = 0
    ABORTED = 1
    UNKNOWN_ACTION = 2
    MISSING_DATA = 3
    INVALID_DATA = 4
    UNKNOWN_ERROR = 5


class ActionError(BackplaneError):
    """An action fails with a status and a text for the caller.

    :ivar message: one sentence.
    :ivar status: any but ``OK``.
    :ivar data: outputs, for clients that look at them also then.
    """

    def __init__(
        self,
        message: str,
        status: StatusCode = StatusCode.ABORTED,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message
        self.status = status
        self.data = data
        super().__init__(message)


@attrs.frozen
class RpcRequest:
    """Body of a request.

    :ivar data: the inputs; usually a mapping, but what arrives may be any JSON.
    """

    agent: str
    action: str
    data: Any = attrs.field(factory=dict)


@attrs.frozen
class RpcReply:
    """Body of a reply.

    :ivar status: a :class:`StatusCode`, or another number that a peer sent.
    :ivar action: empty where the peer does not say.
    """

    status: int
    message: str
    data: Mapping[str, Any]
    action: str = ""

    @property
    def ok(self) -> bool:
        """Whether the action succeeded."""
        return self.status == StatusCode.OK


_PREFIX: Final = (
    "Could not process request: could not parse incoming message "
    "as a MCollective SimpleRPC Request: "
)


def decode_request(body: bytes) -> RpcRequest:
    """Read the body of a request; what is missing is empty.

    :raises ActionError: with ``INVALID_DATA`` for a body that is not such an object.
    """
    if body.strip() == b"null":
        return RpcRequest("", "")  # as Go reads it: an object without fields
    try:
        document = parse_object(
            body,
            "body",
            known=("agent", "action", "data", "caller"),
            max_values=MAX_BODY_VALUES,
        )
        agent, action = (_text_or_null(document, key) for key in ("agent", "action"))
    except DecodeError as error:
        raise ActionError(_PREFIX + error.detail, StatusCode.INVALID_DATA) from None
    return RpcRequest(agent, action, document.get("data", {}))


def _text_or_null(document: Mapping[str, Any], key: str) -> str:
    """Return a text field of a body; absent and null are empty, as in Go."""
    return "" if document.get(key) is None else text(document, key, "body")


def encode_request(agent: str, action: str, data: Mapping[str, Any]) -> str:
    """Return the body of a request."""
    return dumps({"agent": agent, "action": action, "data": dict(data)})


def encode_reply(action: str, status: int, message: str, data: Mapping[str, Any]) -> str:
    """Return the body of a reply.

    :raises TypeError, ValueError: for data that JSON cannot hold.
    """
    return dumps(
        {"action": action, "statuscode": int(status), "statusmsg": message, "data": dict(data)}
    )


def decode_reply(message: str) -> RpcReply:
    """Read the body of a reply.

    Go sends the JSON *text* ``"{}"`` for data that an action left out.

    :raises DecodeError: with layer ``body``.
    """
    layer = "body"
    document = parse_object(
        message,
        layer,
        known=("action", "statuscode", "statusmsg", "data"),
        max_values=MAX_BODY_VALUES,
    )
    status = document.get("statuscode", 0)
    message_text = _text_or_null(document, "statusmsg")
    action = _text_or_null(document, "action")
    data = document.get("data")
    if not isinstance(status, int) or isinstance(status, bool) or not -(2**63) <= status < 2**63:
        raise DecodeError("bad_field", layer, "statuscode is not an integer")
    if data is None or data == "{}":
        data = {}
    if not isinstance(data, dict):
        raise DecodeError("bad_field", layer, "data is not an object")
    return RpcReply(status, message_text, data, action)
