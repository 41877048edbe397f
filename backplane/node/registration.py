"""Published data as data adapters read it: a request to nobody, with the data in it.

Source: Choria protocol 7.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from backplane.choria import subjects, v1
from backplane.choria.message import Request, new_request_id
from backplane.interfaces import DataItem
from backplane.nats.validators import check_publish_subject
from backplane.node.entries import Sealed

__all__ = ["Registration"]

REGISTRATION_AGENT: Final = "registration"
REGISTRATION_TTL: Final = 60
NOWHERE: Final = "dev.null"


class Registration:
    """Makes the documents of one node.

    :param signer: of now.
    :param now: wall-clock time.
    """

    def __init__(
        self,
        *,
        identity: str,
        caller_id: str,
        collective: str,
        signer: Callable[[], v1.Signer],
        now: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._caller_id = caller_id
        self._collective = collective
        self._signer = signer
        self._now = now

    def seal(self, item: DataItem) -> Sealed:
        """Return subject and document of an item.

        :raises TypeError: for what is no item, or has no data in it.
        :raises ValueError: for data that is empty or not UTF-8, or a bad destination.
        """
        if not isinstance(item, DataItem):
            raise TypeError(f"a DataItem is published, not {type(item).__name__}")
        data = item.data
        if not isinstance(data, (str, bytes, bytearray, memoryview)):
            # bytes(5) would be five NULs.
            raise TypeError(f"the data of an item is text or bytes, not {type(data).__name__}")
        text = data if isinstance(data, str) else bytes(data).decode("utf-8", "strict")
        if not text:
            raise ValueError("there is no data in the item")
        text.encode("utf-8")
        subject = item.destination or subjects.broadcast(self._collective, REGISTRATION_AGENT)
        check_publish_subject(subject, "the destination")
        request = Request(
            message=text,
            request_id=new_request_id(),
            sender_id=self._identity,
            caller_id=self._caller_id,
            collective=self._collective,
            agent=REGISTRATION_AGENT,
            ttl=REGISTRATION_TTL,
            time=int(self._now()),
        )
        payload = v1.encode_transport(
            v1.seal_request(request, self._signer()), sender=self._identity, reply_to=NOWHERE
        )
        return Sealed(subject, payload, request.request_id, bool(item.durable))
