"""``python -m benchmarks.service FILE``: a service in a process of its own.

The file has a management's settings as JSON. It says ``ready`` on its output, and ends
with SIGTERM.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as default_reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from backplane.service import Management
from backplane.testing import RecordingApplication


def main(path: str) -> None:
    """Run the service."""
    reactor: Any = default_reactor
    observer = textFileLogObserver(sys.stderr)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    management = Management(settings, data_publisher=False)
    management.provide(RecordingApplication({"dc": "dc1", "role": "web"}))
    management.startService()
    ready = management.when_ready()
    ready.addCallback(lambda result: print("ready", flush=True))
    ready.addErrback(lambda failure: failure.printTraceback())
    reactor.addSystemEventTrigger("before", "shutdown", management.stopService)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
