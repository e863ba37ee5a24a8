"""`python -m bench`: all shapes, A B A B, on this machine."""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from pathlib import Path

from bench.measure import interleaved
from bench.report import machine, table
from bench.shapes import shapes
from bench.stage import staged


async def _bench(rounds: int, only: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="vertebra-bench-") as folder:
        async with staged(Path(folder)) as stage:
            print(machine(stage))
            for shape in shapes(stage):
                if not only or shape.name in only:
                    times = await interleaved(shape.samples, rounds)
                    print(table(shape, times), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each shape (at least 7; default 15)")
    parser.add_argument("--only", nargs="*", default=[], metavar="SHAPE", help="W1 W2 W4 W6 ..; default all")
    given = parser.parse_args()
    asyncio.run(_bench(given.rounds, given.only))
    gc.collect()


if __name__ == "__main__":
    main()
