"""`python -m bench`: all shapes, A B A B, and what a run costs the servers, on this machine."""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import crowd, looping, memory, others, report
from bench.activation import Activations
from bench.counting import counted
from bench.crowd import crowds
from bench.looping import loops
from bench.measure import Sample, interleaved, spread
from bench.memory import waiting
from bench.picture import Bar, picture
from bench.shapes import PLAIN, VERTEBRA, Shape, shapes
from bench.stage import staged

ALL = ("W1", "W2", "W3", "W4", "W6", "W1g", "loop", "counts", "W5", "W7")
WITH_OTHERS = ("W1", "W2")
BY_PROCESSES = frozenset({"W5", "W7"})


@dataclass(frozen=True)
class Wanted:
    """What is to be measured."""

    only: frozenset[str]
    rounds: int
    crowds: tuple[int, ...]
    bars: list[Bar] = field(default_factory=list)
    """Ratios to the plain rival, for the picture."""

    def __contains__(self, name: str) -> bool:
        return name in self.only


async def _bench(wanted: Wanted) -> None:
    with tempfile.TemporaryDirectory(prefix="vertebra-bench-") as folder:
        await _in_turns(wanted, Path(folder))
    with tempfile.TemporaryDirectory(prefix="vertebra-bench-") as folder:
        await _by_processes(wanted, Path(folder))


async def _in_turns(wanted: Wanted, folder: Path) -> None:
    """One run at a time, all workers in this process."""
    if not wanted.only - BY_PROCESSES:
        return
    activations = Activations()
    async with staged(folder, (activations.plugin(),)) as stage, AsyncExitStack() as stack:
        print(report.machine(stage))
        running = {
            name: await stack.enter_async_context(other.process(stage.services))
            for name, other in others.found().items()
        }
        for shape in shapes(stage):
            if shape.name in wanted:
                extra = {name: others.sample(process, shape.name) for name, process in running.items()}
                await _timed(shape, extra if shape.name in WITH_OTHERS else {}, wanted)
        if "loop" in wanted:
            took, growth = await loops(stage, 3)
            wanted.bars.append(Bar("loop: last rounds to first", growth, looping.GOAL))
            print(report.loop(took, growth), flush=True)
        if "counts" in wanted:
            print(report.counts(await counted(stage)), flush=True)
        print(report.activation(activations), flush=True)


async def _timed(shape: Shape, extra: dict[str, Sample], wanted: Wanted) -> None:
    times = await interleaved(shape.samples | extra, min(wanted.rounds, shape.rounds or wanted.rounds))
    if shape.goal_ms is None:
        wanted.bars.append(Bar(f"{shape.name}: {shape.what}"[:36], times.ratio(VERTEBRA, PLAIN), shape.goal))
    print(report.table(shape, times), flush=True)


async def _by_processes(wanted: Wanted, folder: Path) -> None:
    """Many runs at once, each contestant's worker in a process of its own."""
    if not wanted.only & BY_PROCESSES:
        return
    async with staged(folder, workers=False) as stage:
        if "W7" in wanted:
            kib = await waiting(stage, folder)
            kept = spread([kib[VERTEBRA] / kib[PLAIN]])
            wanted.bars.append(Bar("W7: memory of a waiting run", kept, memory.GOAL))
            print(report.memory(kib), flush=True)
        if "W5" in wanted:
            for runs in wanted.crowds:
                rounds = 3 if runs <= 200 else 1
                found = await crowds(stage, folder, runs, rounds)
                wanted.bars.append(
                    Bar(f"W5: runs/s, {runs} at once", crowd.ratio(found, PLAIN), crowd.GOAL, at_least=True)
                )
                print(report.crowd(runs, found), flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each shape (at least 7; default 15)")
    parser.add_argument("--only", nargs="*", default=ALL, choices=ALL, metavar="SHAPE", help=f"{' '.join(ALL)}")
    parser.add_argument("--crowds", nargs="*", type=int, default=(200, 1000), help="runs at once in W5 (200 1000)")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the ratios too")
    given = parser.parse_args()
    wanted = Wanted(frozenset(given.only), given.rounds, tuple(given.crowds))
    asyncio.run(_bench(wanted))
    if given.picture is not None:
        given.picture.write_text(picture(wanted.bars, report.computer()), encoding="utf-8")
    gc.collect()  # else the process may abort at exit: an activity was in flight when its worker stopped


if __name__ == "__main__":
    main()
