"""Whatever stands in a body: an answer, and no error of ours."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria import rpc, v1
from backplane.security.roles import ACTION_ROLES
from backplane.testing import Harness, RecordingApplication
from tests.node.messages import COLLECTIVE, IDENTITY, Lines, request

ACTIONS = sorted(
    (agent, name) for agent, rows in ACTION_ROLES.items() for name in rows if name != "shutdown"
)
INPUTS = (
    *("fact", "facts", "item", "source", "query", "name", "path", "instance", "transition"),
    *("process_results", "version"),
)

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


class HostileBodyTests(SynchronousTestCase):
    """A caller who may do everything, and sends anything."""

    def setUp(self) -> None:
        self.log = Lines()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.harness = Harness()
        self.addCleanup(self.harness.close)
        app = RecordingApplication({"dc": "DC1", "list": [1, {"a": "b"}]})
        self.harness.manage(app, identity=IDENTITY)
        self.replies: list[bytes] = []
        self.harness.broker.subscribe(
            f"{COLLECTIVE}.reply.>", lambda message: self.replies.append(message.payload)
        )

    def ask(self, agent: str, body: str) -> rpc.RpcReply:
        self.replies.clear()
        self.harness.broker.publish(
            f"{COLLECTIVE}.broadcast.agent.{agent}",
            request(agent=agent, body=body, time=int(self.harness.clock.seconds())),
        )
        self.harness.network.flush()
        (payload,) = self.replies
        reply = rpc.decode_reply(v1.open_reply(payload)[1].message)
        self.assertIn(reply.status, range(6))
        failures = [event for event in self.log.events if "log_failure" in event]
        self.assertEqual(failures, [], body)
        return reply

    @settings(deadline=None)
    @given(
        st.sampled_from(ACTIONS),
        st.dictionaries(st.sampled_from(INPUTS) | st.text(max_size=9), _values) | _values,
    )
    @example(("rpcutil", "get_fact"), [])
    @example(("rpcutil", "get_fact"), {"fact": "@this|@keys.#(%*)#|@tostr"})
    @example(("rpcutil", "get_facts"), {"facts": ",,,"})
    @example(("choria_util", "machine_transition"), {"transition": {"a": []}})
    def test_inputs(self, action: tuple[str, str], data: Any) -> None:
        """Any inputs of any action are answered, and none makes an error of ours."""
        agent, name = action
        body = json.dumps({"agent": agent, "action": name, "data": data})
        reply = self.ask(agent, body)
        self.assertNotEqual(reply.status, 5, reply.message)

    @settings(deadline=None)
    @given(
        st.sampled_from(["backplane", "rpcutil", "choria_util"]),
        st.text(min_size=1, max_size=60) | _values.map(json.dumps),
    )
    @example("backplane", "null")
    @example("backplane", "[" * 70)
    @example("rpcutil", '{"agent": "rpcutil", "action": "ping", "action": "ping"}')
    @example("rpcutil", '{"AGENT": "rpcutil", "action": "ping"}')
    def test_bodies(self, agent: str, body: str) -> None:
        """So is any text in place of a body."""
        self.assertIn(self.ask(agent, body).status, (1, 2, 4))
