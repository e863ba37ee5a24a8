"""`python -m bench`: all shapes, A B A B, and what a run costs the servers, on this machine."""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from pathlib import Path

from bench.activation import Activations
from bench.counting import counted
from bench.measure import interleaved
from bench.report import activation, counts, machine, table
from bench.shapes import shapes
from bench.stage import staged


async def _bench(rounds: int, only: list[str]) -> None:
    activations = Activations()
    with tempfile.TemporaryDirectory(prefix="vertebra-bench-") as folder:
        async with staged(Path(folder), (activations.plugin(),)) as stage:
            print(machine(stage))
            for shape in shapes(stage):
                if not only or shape.name in only:
                    print(table(shape, await interleaved(shape.samples, rounds)), flush=True)
            if not only:
                print(counts(await counted(stage)))
            print(activation(activations))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each shape (at least 7; default 15)")
    parser.add_argument("--only", nargs="*", default=[], metavar="SHAPE", help="W1 W2 W4 W6 W1g; default all")
    given = parser.parse_args()
    asyncio.run(_bench(given.rounds, given.only))
    gc.collect()  # else the process may abort at exit: an activity was in flight when its worker stopped


if __name__ == "__main__":
    main()
