"""``python -m tests [NAME…]``: run the tests and count them.

Errors and unexpected successes count as failed, and a run without tests fails.
The last line is ``N passed, N failed, N skipped``.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.reporter import TreeReporter, VerboseTextReporter
from twisted.trial.runner import TestLoader, TestSuite, TrialRunner


def main(names: list[str]) -> int:
    """Run the named tests, all of them by default."""
    root = Path(__file__).resolve().parent.parent
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    # Programs that tests start find the package also where it is not installed.
    places = (str(root), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Whoever runs us in the background ignores it, and programs that we start would, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="backplane-state-") as folder:
        # What the command line remembers is nobody's own.
        os.environ["XDG_STATE_HOME"] = os.environ["LOCALAPPDATA"] = folder
        os.environ.pop("BACKPLANE_CONFIG", None)
        return run(names, root)


def run(names: list[str], root: Path) -> int:
    """Run them; return 1 when one failed, or there were none."""
    loader = TestLoader()
    suite: Any = TestSuite()
    for name in names or ["tests"]:
        suite.addTest(loader.loadByName(name, recurse=True))
    reporter = TreeReporter if sys.stdout.isatty() else VerboseTextReporter
    result: Any = TrialRunner(reporter, workingDirectory=str(root / "_trial_temp")).run(suite)
    broken = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.successes + len(result.expectedFailures)
    if not passed + broken:
        print("there were no tests")
        broken = 1
    print(f"{passed} passed, {broken} failed, {len(result.skips)} skipped")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
