"""Stacks and stalls of a fleet, grouped; answers may be anything."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Answer
from backplane.client.stacks import group_stacks, group_stalls


def answer(sender: str, **data: Any) -> Answer:
    return Answer(sender, RpcReply(action="x", status=0, message="OK", data=data), 0.1)


def frame(file: str, line: int, function: str, source: str = "") -> dict[str, Any]:
    return {"file": file, "line": line, "function": function, "source": source}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["threads", "frames", "file", "line", "name", "stalls", "place", "count", "at"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class StacksTests(SynchronousTestCase):
    """Thread dumps."""

    def dump(self, sender: str, line: int, *, folder: str = "/srv", wait: int = 300) -> Answer:
        frames = [
            frame("/usr/lib/python3.11/threading.py", 1002, "Thread._bootstrap"),
            frame(f"{folder}/app.py", line, "work", "queue.get()"),
            frame("/usr/lib/python3.11/threading.py", wait, "Condition.wait"),
        ]
        thread = {"name": f"worker-{line}", "reactor": False, "frames": frames, "omitted": 0}
        return answer(sender, threads=[thread])

    def test_alike(self) -> None:
        """Folders, numbers of threads and lines within Python do not make a difference."""
        one, two = self.dump("a", 10), self.dump("b", 10, folder="/opt/x", wait=320)
        (group,) = group_stacks([one, two])
        self.assertEqual(group.instances, ["a", "b"])
        self.assertEqual(group.name, "worker-#")

    def test_different(self) -> None:
        """A line of the application's own does, and the rarer group is first."""
        groups = group_stacks([self.dump("a", 10), self.dump("b", 20), self.dump("c", 10)])
        self.assertEqual([group.instances for group in groups], [["b"], ["a", "c"]])

    def test_several(self) -> None:
        """Threads of one instance count, and it is named once."""
        (group,) = group_stacks([self.dump("a", 10), self.dump("a", 10)])
        self.assertEqual(group.threads, {"a": 2})

    @given(ANYTHING, ANYTHING)
    def test_anything(self, one: Any, two: Any) -> None:
        """What remote sides send never breaks it."""
        answers = [answer("a", threads=one, stalls=two), answer("b", threads=two, stalls=one)]
        for group in group_stacks(answers):
            group.as_dict()
        for stall in group_stalls(answers):
            stall.as_dict()


class StallsTests(SynchronousTestCase):
    """What reactors were stuck in."""

    def test_grouped(self) -> None:
        """One line of code is one place, wherever it is installed."""

        def stall(folder: str, **more: Any) -> dict[str, Any]:
            return {"place": f"{folder}/a.py:5 in f", "source": "sleep()", "count": 1, **more}

        (group,) = group_stalls(
            [
                answer("a", stalls=[stall("/x", at=10.0, longest=2.0, seconds=2.0)]),
                answer("b", stalls=[stall("/y", at=20.0, longest=5.5, seconds=None)]),
            ]
        )
        self.assertEqual((group.count, group.longest, group.last), (2, 5.5, 20.0))
        self.assertEqual(sorted(group.stalls), ["a", "b"])
