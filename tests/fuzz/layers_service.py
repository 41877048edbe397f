"""Layers of a service as a whole: from the bytes of a message to the answer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from backplane.choria import rpc, v1
from backplane.choria.message import Request
from backplane.choria.rpc import ActionError
from backplane.nats.parser import Pub
from backplane.node.admission import Admission
from backplane.node.outcome import Outcome
from backplane.security.allowlist import DEFAULT_ALLOWED, DEFAULT_PRIVILEGED, AllowList
from backplane.security.chains import load_authorities
from backplane.security.replay import ReplayMemory
from backplane.security.roles import ACTION_ROLES, Roles
from backplane.security.signing import (
    InsecureSigner,
    InsecureVerifier,
    SecureVerifier,
    Verifier,
)
from backplane.testing import Harness, RecordingApplication
from tests.fuzz.corpus import PKI, bodies, inner_documents, payloads, secure_documents
from tests.fuzz.engine import Layer, Read
from tests.fuzz.layers_filters import FACTS
from tests.fuzz.strategies import values

__all__ = ["LAYERS"]

SUBJECT: Final = "demo_backplane.broadcast.agent.backplane"
REPLY_TO: Final = "demo_backplane.reply.cb504717a797947060cbb33d3b20229e.1"
NOW: Final = 1_795_570_522.5
"""Within the captures."""

_TIME: Final = re.compile(r'"time":([0-9]{10})[^0-9]')
_HEADERS: Final = {"mc_sender": "client1.example.net", "reply-to": REPLY_TO}


def _admission(verifier: Verifier) -> Admission:
    def is_change(agent: str, body: bytes) -> bool:
        try:
            return rpc.decode_request(body).action == "pause"
        except ActionError:
            return False

    return Admission(
        identity="app1.example.net",
        collectives=("demo_backplane", "app_backplane", "mcollective"),
        agents=lambda: ("backplane", "discovery", "rpcutil", "choria_util"),
        facts=lambda role: FACTS,
        classes=lambda: ("role::web",),
        verifier=verifier,
        role_of=Roles.compile(full=["rip.mcollective", "sre.choria"]).role_of,
        replay=ReplayMemory(),
        started=0.0,
        is_change=is_change,
    )


def _admit(
    verifier: Callable[[], Verifier], wrap: Callable[[Any], bytes], plain: Callable[[Any], str]
) -> Callable[[], Any]:
    @contextmanager
    def opened() -> Iterator[Read]:
        admission = _admission(verifier())
        # The memory goes by ends that come nearer.
        latest = 0.0

        def read(value: Any) -> Outcome:
            nonlocal latest
            found = _TIME.search(plain(value))
            now = float(found.group(1)) + 0.5 if found else NOW
            latest = max(latest, now)
            return admission.admit(wrap(value), SUBJECT, now)

        yield read

    return opened


def _inside(payload: bytes) -> str:
    """Return the request of a payload as far as it can be read, for its time."""
    try:
        return base64.b64decode(json.loads(payload)["data"]).decode().replace('\\"', '"')
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _transport(data: bytes) -> bytes:
    encoded = base64.b64encode(data).decode()
    document = {"protocol": v1.TRANSPORT, "data": encoded, "headers": _HEADERS}
    return json.dumps(document).encode()


def _secured(text: str) -> bytes:
    document = {
        "protocol": v1.SECURE_REQUEST,
        "message": text,
        "signature": "insecure",
        "pubcert": "insecure",
    }
    return _transport(json.dumps(document).encode())


def _secure_verifier() -> Verifier:
    return SecureVerifier(
        load_authorities(str(PKI / "ca.pem")),
        AllowList(DEFAULT_ALLOWED, setting="allow"),
        AllowList(DEFAULT_PRIVILEGED, setting="privileged"),
    )


@contextmanager
def _answering() -> Iterator[Read]:
    """Ask a service in memory; it must answer each body, and fail at none."""
    harness = Harness(start=NOW)
    failures: list[LogEvent] = []
    replies: list[bytes] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event)

    def replied(message: Pub) -> None:
        replies.append(message.payload)

    app = RecordingApplication(FACTS)
    harness.manage(app, name="demo", identity="app1.example.net")
    harness.broker.subscribe("demo_backplane.reply.>", replied)
    globalLogPublisher.addObserver(observe)
    asked = 0

    def read(text: str) -> object:
        nonlocal asked
        asked += 1
        if asked % 200 == 0:
            harness.advance(1)
        app.calls.clear()
        replies.clear()
        agent, _, body = text.partition("|")
        request = Request(
            message=body.encode("utf-8", "replace").decode() or "x",
            request_id=f"{asked:032}",
            sender_id="client1.example.net",
            caller_id=f"choria=c{asked % 500}.choria",
            collective="demo_backplane",
            agent=agent,
            ttl=60,
            time=int(harness.clock.seconds()),
        )
        sealed = v1.seal_request(request, InsecureSigner())
        payload = v1.encode_transport(sealed, sender="client1.example.net", reply_to=REPLY_TO)
        harness.broker.publish(SUBJECT, payload)
        harness.network.flush()
        if failures:
            raise AssertionError(failures.pop()["log_failure"].getTraceback())
        if agent in ACTION_ROLES:
            (reply,) = replies
            found = rpc.decode_reply(v1.open_reply(reply)[1].message)
            if found.status not in range(6):
                raise AssertionError(f"status {found.status}")
        return replies

    try:
        yield read
    finally:
        globalLogPublisher.removeObserver(observe)
        harness.close()


ACTIONS: Final = sorted(
    (agent, name) for agent, rows in ACTION_ROLES.items() for name in rows if name != "shutdown"
)


def _asked() -> Sequence[str]:
    plain = (f"{agent}|{_body((agent, name), {})}" for agent, name in ACTIONS)
    captured = {f"rpcutil|{each}" for each in bodies("request") if "shutdown" not in each}
    return [*plain, *sorted(captured)[:60]]


def _body(action: tuple[str, str], data: Any) -> str:
    return json.dumps({"agent": action[0], "action": action[1], "data": data})


_INPUTS: Final = (
    *("fact", "facts", "item", "source", "query", "name", "path", "instance", "transition"),
    "process_results",
)
_bodies: Final = st.tuples(
    st.sampled_from(ACTIONS),
    st.dictionaries(st.sampled_from(_INPUTS) | st.text(max_size=5), values, max_size=4) | values,
).map(lambda pair: f"{pair[0][0]}|{_body(*pair)}")

LAYERS: Final = (
    Layer(
        name="message, insecure",
        opened=_admit(InsecureVerifier, bytes, _inside),
        errors=(),
        seeds=lambda: payloads("request"),
        words=('"data":', '"headers":', '"reply-to":', '"federation":'),
        binary=True,
        weight=7,
    ),
    Layer(
        name="message, secure",
        opened=_admit(_secure_verifier, bytes, _inside),
        errors=(),
        seeds=lambda: [each for each in payloads("request") if len(each) > 3000],
        binary=True,
        weight=6,
    ),
    Layer(
        name="message, its secure request",
        opened=_admit(
            _secure_verifier, _transport, lambda data: data.decode("latin-1").replace('\\"', '"')
        ),
        errors=(),
        seeds=lambda: [each for each in secure_documents("request") if b"BEGIN" in each],
        words=('"signature":', '"pubcert":', "-----BEGIN CERTIFICATE-----\\n"),
        binary=True,
        weight=5,
    ),
    Layer(
        name="message, its request",
        opened=_admit(InsecureVerifier, _secured, str),
        errors=(),
        seeds=lambda: inner_documents("request"),
        words=('"fact":', '"operator":', '"compound":[[{"expr":"', '"identity":["/', '"ttl":'),
        weight=7,
    ),
    Layer(
        name="answers of a service",
        opened=_answering,
        errors=(),
        seeds=_asked,
        made=_bodies,
        weight=4,
    ),
)
