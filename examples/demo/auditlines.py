"""Shows an audit log in columns: ``python auditlines.py FILE``."""

from __future__ import annotations

import json
import sys

COLUMNS = ("seq", "caller", "action", "phase", "decision", "rule", "outcome", "signer")


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    rows = [COLUMNS, *(tuple(str(line[name] or "-") for name in COLUMNS) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
