"""Stacks and stalls of a fleet, grouped; answers may be anything."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from backplane.choria.rpc import RpcReply
from backplane.client.accounting import Answer
from backplane.client.stacks import group_held, group_stacks, group_stalls, whole


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
                ["frames", "file", "line", "name", "place", "count", "at", "longest", "omitted"]
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
        self.assertEqual(group.names, {"worker-#": 2})
        self.assertEqual(group.place, "/srv/app.py:10 in work")

    def test_different(self) -> None:
        """A line of the application's own does, and the rarer group is first."""
        groups = group_stacks([self.dump("a", 10), self.dump("b", 20), self.dump("c", 10)])
        self.assertEqual([group.instances for group in groups], [["b"], ["a", "c"]])

    def test_names(self) -> None:
        """The same stack is one group, whatever threads are called."""
        one, two = self.dump("a", 10), self.dump("b", 10)
        two.reply.data["threads"][0]["name"] = "Pool_12-3"
        (group,) = group_stacks([one, two])
        self.assertEqual(group.as_dict()["names"], ["Pool_#-#", "worker-#"])
        nameless = self.dump("a", 10)
        nameless.reply.data["threads"][0]["name"] = None
        (group,) = group_stacks([nameless])
        self.assertEqual(group.names, {"a thread": 1})

    def test_place(self) -> None:
        """Without a frame of the application's it is the innermost; without any, nothing."""
        wait = frame("/usr/lib/python3.11/threading.py", 3, "wait")
        groups = group_stacks([answer("a", threads=[{"frames": [wait]}, {"frames": []}])])
        places = {group.place for group in groups}
        self.assertEqual(places, {"/usr/lib/python3.11/threading.py:3 in wait", ""})

    def test_reactor(self) -> None:
        """A reactor's thread makes the dump; how the request came to it makes no difference."""

        def dump(sender: str, *ways: str, line: int = 3) -> Answer:
            frames = [
                frame("/srv/main.py", line, "main", "reactor.run()"),
                *(frame(f"/x/lib/python3.11/site-packages/t/{way}.py", 1, way) for way in ways),
            ]
            return answer(sender, threads=[{"name": "Main", "reactor": True, "frames": frames}])

        (group,) = group_stacks([dump("a", "tls", "read"), dump("b", "read")])
        self.assertEqual(group.instances, ["a", "b"])
        self.assertEqual(len(group_stacks([dump("a"), dump("b", line=4)])), 2)

    def test_foreign(self) -> None:
        """Lines of Python's, of installed packages and ours make no difference; others do."""
        for path, foreign in (
            ("/usr/lib/python3.11/threading.py", True),
            ("/usr/lib64/python3.14/asyncio/base_events.py", True),
            (r"C:\Python311\Lib\threading.py", True),
            ("/opt/v/lib/python3/dist-packages/gunicorn/sync.py", True),
            ("/opt/v/backplane/stalls.py", True),
            ("/opt/v/backplane/nats/parser.py", True),
            ("<string>", True),
            ("/srv/backplane/app.py", False),
            ("/srv/python3/app.py", False),
            ("/srv/lib/app.py", False),
            ("", False),
        ):
            one, two = (
                answer(sender, threads=[{"frames": [frame(path, line, "f")]}])
                for sender, line in (("a", 1), ("b", 2))
            )
            self.assertEqual(len(group_stacks([one, two])), 1 if foreign else 2, path)

    def test_held(self) -> None:
        """What is held is counted by what it is."""
        first = [{"seconds": 1, "function": "app.f"}, {"seconds": 2, "function": "app.f"}]
        answers = [
            answer(
                "a",
                delayed_calls=first,
                deferreds=[{"waits": "/srv/app.py:7 in w", "count": 7}],
                tasks=[{"name": "Task-12", "coroutine": "c", "place": "/a.py:3 in c"}],
            ),
            answer(
                "b",
                delayed_calls=[{"function": "app.g"}, {"function": "app.f"}],
                deferreds=[
                    {"waits": "/opt/b/app.py:7 in w", "count": 1},
                    {"waits": "v", "count": 2},
                ],
                tasks=[
                    {"name": "poller", "coroutine": "c", "place": "/b/a.py:3 in c"},
                    {"name": "Task-1", "coroutine": "d", "place": ""},
                ],
            ),
        ]

        def held(key: str, part: str) -> list[tuple[str, int, int, list[str]]]:
            found = group_held(answers, key, part)
            return [
                (each.what, each.count, len(each.instances), sorted(each.names)) for each in found
            ]

        self.assertEqual(
            held("delayed_calls", "function"), [("app.f", 3, 2, []), ("app.g", 1, 1, [])]
        )
        self.assertEqual(
            held("deferreds", "waits"), [("/srv/app.py:7 in w", 8, 2, []), ("v", 2, 1, [])]
        )
        self.assertEqual(
            held("tasks", "coroutine"),
            [("c at /a.py:3 in c", 2, 2, ["Task-#", "poller"]), ("d", 1, 1, ["Task-#"])],
        )

    def test_numbers(self) -> None:
        """Numbers that are none of ours count as nothing."""
        good = (0, 1, 2**53)
        self.assertEqual(tuple(map(whole, good)), good)
        bad: tuple[object, ...] = (-1, 10**5000, True, 1.5, float("nan"), "1", None, [])
        self.assertEqual({whole(each) for each in bad}, {0})
        wild = [{"place": "p", "at": float("inf"), "longest": 10**400, "count": 10**5000}]
        (stall,) = group_stalls([answer("a", stalls=wild)])
        self.assertEqual((stall.count, stall.longest, stall.last), (0, 0.0, 0.0))

    def test_several(self) -> None:
        """Threads of one instance count, and it is named once."""
        (group,) = group_stacks([self.dump("a", 10), self.dump("a", 10)])
        self.assertEqual(group.threads, {"a": 2})

    @given(ANYTHING, ANYTHING)
    def test_anything(self, one: Any, two: Any) -> None:
        """What remote sides send never breaks it."""
        answers = [
            answer("a", threads=one, stalls=two, tasks=one),
            answer("b", threads=two, stalls=one, tasks=two),
        ]
        for group in group_stacks(answers):
            group.as_dict()
        for stall in group_stalls(answers):
            stall.as_dict()
        for held in group_held(answers, "tasks", "name"):
            held.as_dict()


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
