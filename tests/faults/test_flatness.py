"""One worker over two thousand short runs: memory, descriptors, connections and child processes stay what they were."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.killing import children
from tests.faults.plant import Plant
from tests.faults.run_worker import SIZE

pytestmark = [pytest.mark.endurance, pytest.mark.server, pytest.mark.timeout(540)]

SHORT = """
graph: short
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, tokens: 100000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  at_once: {agent: speaker, input: {text: input.text}, write: {said: text}}
"""
AT_ONCE = 40
SPARE_BYTES = 16 * 2**20
"""The allocator's own: freed memory goes back in pieces. A leaked kilobyte a run is 1.5 MB, and shows in the blocks."""
SPARE_OBJECTS, SPARE_OBJECTS_A_RUN = 400, 0.2
"""Of those that hold others: timers and tasks of the moment; then less than one left behind by every fifth run."""
SPARE_BLOCKS, SPARE_BLOCKS_A_RUN = 16_384, 2.0
"""pydantic keeps so many short strings for good, and they fill up while ids are read."""
SPARE_DESCRIPTORS = 4
"""A connection that is just being made or closed."""


@dataclass(frozen=True)
class Size:
    """What one worker holds while nothing runs."""

    bytes: int
    objects: int
    """Those that hold others, after a full collection."""
    blocks: int
    """Of Python's allocator: everything."""
    descriptors: int
    connections: int
    """Of gate workers, the test's own idle pool included."""
    children: int


async def test_a_worker_stays_flat(plant: Plant, pytestconfig: pytest.Config, report: Callable[[str], None]) -> None:
    """A quarter of the runs warms it up; over the other three quarters nothing grows with the number of runs."""
    total: int = pytestconfig.getoption("--flat")
    crowd = Crowd(plant, await plant.publish(SHORT), random.Random(0), "flat")
    project = plant.project({"at_once": [{"reply": "said"}]})
    settings = {"VERTEBRA_LIMITS__CONNECTIONS": "8"}

    async with plant.worker(project, settings=settings):
        sizes = []
        for reach in (total // 4, total // 2, total):
            await crowd.feed(reach, AT_ONCE)
            await _until_ended(crowd)
            sizes.append(await _size(plant, project / SIZE))

    (warm, _, last), more = sizes, total - total // 4
    report(f"one worker after {total // 4}, {total // 2} and {total} runs:\n" + "\n".join(map(str, sizes)))
    assert warm.children == last.children
    assert warm.connections >= last.connections
    assert warm.descriptors + SPARE_DESCRIPTORS >= last.descriptors
    assert SPARE_OBJECTS + SPARE_OBJECTS_A_RUN * more >= last.objects - warm.objects
    assert SPARE_BLOCKS + SPARE_BLOCKS_A_RUN * more >= last.blocks - warm.blocks
    assert warm.bytes + SPARE_BYTES >= last.bytes


async def _until_ended(crowd: Crowd) -> None:
    while await crowd.open():  # noqa: ASYNC110 - rows ring no bell
        await asyncio.sleep(0.2)


async def _size(plant: Plant, notes: Path) -> Size:
    """Asked while it rests; the worker itself counts its blocks."""
    await asyncio.sleep(1.0)  # the last answers are on their way
    pid = plant.supervisor.kill("worker", signal.SIGUSR1)
    said = await asyncio.to_thread(_read, notes)
    [row] = await plant.sql(
        "select count(*) as found from pg_stat_activity"
        " where usename = 'vertebra_gate' and datname = current_database()"
    )
    return Size(
        bytes=_resident(pid),
        objects=said["objects"],
        blocks=said["blocks"],
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        connections=row["found"],
        children=len(children(pid)),
    )


def _read(notes: Path) -> dict[str, int]:
    """What the worker wrote, once: the next answer is another file."""
    deadline = time.monotonic() + 60
    while not notes.exists():
        if time.monotonic() > deadline:
            raise AssertionError("the worker does not say how large it is")
        time.sleep(0.1)
    said: dict[str, int] = json.loads(notes.read_text())
    notes.unlink()
    return said


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
