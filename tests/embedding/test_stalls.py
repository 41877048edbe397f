"""``stall_watch``: what blocks the loop or reactor of an embedding."""

from __future__ import annotations

from tests.embedding.process import ProgramCase
from tests.embedding.test_forks import FORK

ASKS = """
from backplane.client import AsyncClient

SECRET = "".join(["hun", "ter2"])

class App(RecordingApplication):
    def pause(self):
        card = SECRET
        time.sleep(4)  # the line that blocks
        super().pause()

async def ask(action):
    async with AsyncClient(config["brokers"], insecure=True) as client:
        outcome = await client.request("app", action, nodes=[config["identity"]])
        (answer,) = outcome.answers
        assert answer.reply.ok, answer.reply.message
        assert SECRET not in repr(answer), answer
        return answer.reply.data

async def until(found):
    while not found(stalls := await ask("stalls")):
        pass
    return stalls
"""


class StallWatchTests(ProgramCase):
    """In a process of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.config["loglevel"] = "critical"

    def test_loop(self) -> None:
        """On a loop of the program's it is switched on, finds the line, and leaves no thread."""
        self.config["stall_watch"] = True
        out = self.succeed(
            ASKS
            + """
async def main():
    before = threading.active_count()
    async with aio.running(config, App()) as management:
        await management.when_ready()
        assert await ask("stalls") == {"stalls": [], "watching": True}
        await ask("pause")
        found = await until(lambda told: told["stalls"] and told["stalls"][0]["seconds"])
        (stall,) = found["stalls"]
        assert 1 <= stall["seconds"] < 30 and stall["count"] == 1, stall
        assert time.time() - 60 < stall["at"] < time.time() - 1, stall
        print(stall["place"].rpartition("/")[2].partition(":")[0], stall["source"])
        print(stall["place"].rpartition(" in ")[2], found["watching"])
    assert threading.active_count() == before

asyncio.run(main())
no_reactor()
"""
        )
        self.assertEqual(out, "program.py time.sleep(4)  # the line that blocks\npause True\n")

    def test_off(self) -> None:
        """Nobody looks when nobody has asked for it, and the answer says so."""
        self.succeed(
            ASKS
            + """
async def main():
    before = threading.active_count()
    async with aio.running(config, App()) as management:
        await management.when_ready()
        assert await ask("stalls") == {"stalls": [], "watching": False}
        assert threading.active_count() == before

asyncio.run(main())
"""
        )

    def test_thread(self) -> None:
        """A reactor in a thread is watched too; a forked child does without, and can end."""
        self.config["stall_watch"] = True
        self.succeed(
            FORK
            + ASKS
            + """
management = start_in_thread(config, App())
management.when_ready(30)
names = [thread.name for thread in threading.enumerate()]
assert "backplane-stalls" in names, names
assert asyncio.run(ask("stalls")) == {"stalls": [], "watching": True}

def work():
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]

assert child(work) == 0
assert asyncio.run(ask("stalls"))["watching"]
assert management.stop()
assert threading.active_count() == 1
no_reactor()
"""
        )

    def test_left_loop(self) -> None:
        """A loop that was left without a stop is not said to be stuck."""
        self.config.update(stall_watch=True, loglevel="info")
        done = self.run_program(
            """
            async def main():
                global management
                management = await aio.start(config, RecordingApplication())
                await management.when_ready()

            logging.basicConfig(level=logging.INFO)
            asyncio.run(main())
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                pass
            """
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ready", done.stderr)
        self.assertNotIn("stuck", done.stderr)
