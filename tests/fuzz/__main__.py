"""``python -m tests.fuzz --inputs N``: feed every layer, and print what came of it.

Ends with 1 at the first input that raises what it should not; it is printed as small
as it could be made. The same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.fuzz.engine import run_layer
from tests.fuzz.layers import LAYERS, shares

ROW = "{:28} {:>9} {:>10} {:>9} {:>9} {:>8} {:>8}"


def main(arguments: list[str]) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all layers together")
    parser.add_argument("--seed", type=int, help="of the chance; printed, to do it again")
    parser.add_argument("--layer", help="only layers whose name has this in it")
    asked = parser.parse_args(arguments)
    start = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    layers = [layer for layer in LAYERS if asked.layer is None or asked.layer in layer.name]
    if not layers:
        parser.error(f"no layer has {asked.layer!r} in its name")
    print(f"seed {start}")
    print(ROW.format("layer", "inputs", "hypothesis", "altered", "read", "slowest", "seconds"))
    total = 0
    for layer, inputs in zip(layers, shares(asked.inputs, layers).values(), strict=True):
        began = time.monotonic()
        count, finding = run_layer(layer, inputs, start)
        total += count.inputs
        print(
            ROW.format(
                layer.name,
                count.inputs,
                count.generated,
                count.inputs - count.generated,
                count.taken,
                f"{count.slowest * 1000:.0f} ms",
                f"{time.monotonic() - began:.0f}",
            ),
            flush=True,
        )
        if finding is not None:
            print(f"\nfound after {total} inputs, seed {start}\n{finding}")
            return 1
    print(f"{total} inputs in {len(layers)} layers: nothing but the documented errors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
