"""What becomes of a management when its process forks."""

from __future__ import annotations

import os

from tests.embedding.process import ProgramCase

FORK = """
logging.disable(logging.CRITICAL)

def child(work):
    # The child says what it finds on standard output, and ends without ado.
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print("child:", type(error).__name__, error)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


class ForkTests(ProgramCase):
    """``os.fork``, which gunicorn, uWSGI, Celery and multiprocessing stand on."""

    def setUp(self) -> None:
        super().setUp()
        self.config["loglevel"] = "critical"
        if not hasattr(os, "fork"):
            self.fail("forks are tried where there are forks")

    def test_dead(self) -> None:
        """The child's copy is dead, and says what to do; the parent's goes on."""
        out = self.succeed(
            FORK
            + """
management = start_in_thread(config, RecordingApplication())
management.when_ready(30)

def work():
    for call in (
        lambda: management.state,
        lambda: management.publish(DataItem("x")),
        management.when_ready,
        management.stop,
    ):
        try:
            call()
        except ForkedError as error:
            assert "post_worker_init" in str(error) and "multiprocessing" in str(error)
            print("ForkedError")

assert child(work) == 0
management.publish(DataItem("x"), 30)
assert management.state.ready
assert management.stop()
no_reactor()
"""
        )
        self.assertEqual(out, "ForkedError\n" * 4)

    def test_connection(self) -> None:
        """The child has no copy of the connection: the broker sees the parent's end at once."""
        out = self.succeed(
            FORK
            + """
before = set(os.listdir("/proc/self/fd"))
management = start_in_thread(config, RecordingApplication())
management.when_ready(30)

def sockets():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if name not in before and ("socket" in target or "eventpoll" in target):
            found.append(target)
    return found

assert sockets()
assert child(lambda: print("left:", sockets())) == 0
assert management.stop()
"""
        )
        self.assertEqual(out, "left: []\n")

    def test_own(self) -> None:
        """With ``after_fork="start"`` each child comes up as itself."""
        out = self.succeed(
            FORK
            + """
from backplane.client import AsyncClient

management = start_in_thread(config, RecordingApplication(), after_fork="start")
management.when_ready(30)

async def found(count):
    async with AsyncClient(config["brokers"], insecure=True) as client:
        outcome = await client.request("app", "ping", expect=count)
        return sorted(answer.sender for answer in outcome.answers)

def work():
    management.when_ready(30)
    management.publish(DataItem("x"), 30)
    names = asyncio.run(found(2))
    own = f"{config['identity']}-{os.getpid()}"
    assert names == [config["identity"], own], names
    assert management.stop()
    print("child done")

for _ in range(3):
    assert child(work) == 0
management.publish(DataItem("x"), 30)
assert management.stop()
no_reactor()
"""
        )
        self.assertEqual(out, "child done\n" * 3)

    def test_told(self) -> None:
        """One line of the log says that the child is not managed, and what to do."""
        done = self.run_program(
            FORK
            + """
logging.disable(logging.NOTSET)
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
management = start_in_thread(config, RecordingApplication())
assert child(lambda: None) == 0
assert management.stop()
"""
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(
            done.stderr,
            r"\AWARNING backplane\.forks process \d+ was forked from \d+, whose management "
            r"does not manage it; start it after the fork: in gunicorn's post_worker_init.*\n\Z",
        )

    def test_identity(self) -> None:
        """A child's own identity, in whatever form the configuration was given."""
        self.config["loglevel"] = "critical"
        self.succeed(
            FORK
            + """
import backplane

def try_with(given, wanted):
    management = start_in_thread(given, RecordingApplication(), after_fork="start")

    def work():
        identity = management._management.config.identity
        assert identity == wanted(), (identity, wanted())
        assert management.stop()

    assert child(work) == 0
    assert management.stop()

class Provider:
    name, brokers, identity = "app", config["brokers"], "host1.example.net"
    logfile = loglevel = tls = auth = None

host = "host1.example.net"
try_with(config, lambda: f"{host}-{os.getpid()}")
try_with({**config, "instance": "a"}, lambda: f"{host}-a-{os.getpid()}")
try_with({**config, "instance": "${PID}"}, lambda: f"{host}-{os.getpid()}")
try_with(backplane.StandardConfiguration(**{**config, "auth": backplane.StandardConfiguration(
    name="x", brokers=[]).auth}), lambda: f"{host}-{os.getpid()}")
try_with(Provider(), lambda: f"{host}-{os.getpid()}")
"""
        )

    def test_after_stop(self) -> None:
        """A fork after the stop, or of one that was never started, is nothing."""
        self.succeed(
            FORK
            + """
management = start_in_thread(config, RecordingApplication(), after_fork="start")
assert management.stop()
assert child(lambda: None) == 0
assert threading.active_count() == 1
"""
        )

    def test_asyncio(self) -> None:
        """On a loop it is dead in the child, too."""
        out = self.succeed(
            FORK
            + """
async def main():
    async with aio.running(config, RecordingApplication()) as management:
        await management.when_ready()

        def work():
            async def ask():
                await management.publish(DataItem("x"))
            try:
                asyncio.run(ask())
            except (ForkedError, RuntimeError) as error:
                print(type(error).__name__)

        assert child(work) == 0
        await management.publish(DataItem("x"))

asyncio.run(main())
"""
        )
        self.assertIn(out, ("ForkedError\n", "RuntimeError\n"))

    def test_audit(self) -> None:
        """The files of the parent stay the parent's: its audit log and its locks."""
        self.config["audit"] = {"logfile": str(self.folder / "audit.log")}
        self.config["state_file"] = str(self.folder / "state")
        self.succeed(
            FORK
            + """
management = start_in_thread(config, RecordingApplication())
management.when_ready(30)
other = {**config, "identity": "other.example.net"}

def work():
    try:
        start_in_thread(other, RecordingApplication())
    except Exception as error:
        assert "locked" in str(error), error
    else:
        raise AssertionError("two processes have one audit log")

assert child(work) == 0
assert management.stop()
management = start_in_thread(other, RecordingApplication())
assert management.stop()
"""
        )
