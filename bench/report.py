"""The figures as lines for people: every ratio with its spread, and what was measured on."""

from __future__ import annotations

import os
import platform

import temporalio.service

from bench.activation import Activations
from bench.counting import Counts
from bench.counts import MARKER
from bench.measure import Times, spread
from bench.shapes import BOOKED, PLAIN, VERTEBRA, Shape
from bench.stage import Stage


def machine(stage: Stage) -> str:
    """What was measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(stage.services.versions.items()))
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.system()} {platform.release()}, "
        f"CPython {platform.python_version()}, temporalio {temporalio.service.__version__}, {versions}"
    )


def table(shape: Shape, times: Times) -> str:
    """One shape."""
    lines = [f"\n{shape.name}: {shape.what}"]
    lines += [f"  {name:48} {times.median(name):8.1f} ms" for name in times.rounds]
    lines += [f"  {f'vertebra / {rival}':48} {times.ratio(VERTEBRA, rival)}" for rival in (PLAIN, BOOKED)]
    lines.append(f"  {f'vertebra - {PLAIN}':48} {times.difference(VERTEBRA, PLAIN)} ms")
    return "\n".join([*lines, *_verdict(shape, times)])


def counts(found: dict[str, Counts]) -> str:
    """What one run of W1 costs the servers."""
    lines = [f"\nOne run of W1: {'':13} events  activities  markers  bytes  commits  flushes  WAL bytes"]
    for name, one in found.items():
        history = one.history
        lines.append(
            f"  {name:26} {history.events:6} {history.activities:11} {history.by_type[MARKER]:8} {history.bytes:6}"
            f" {one.commits:8.1f} {one.flushes:8.1f} {one.wal_bytes:10.0f}"
        )
    return "\n".join(lines)


def activation(seen: Activations) -> str:
    """How runs begin, and what that imports."""
    imported = ", ".join(seen.imported[-1])
    return f"\nFirst activation of a run: {spread(seen.took_ms)} ms (goal: 2); runs the code of {imported}"


def _verdict(shape: Shape, times: Times) -> list[str]:
    if shape.goal is not None:
        reached = times.ratio(VERTEBRA, PLAIN).median <= shape.goal
        return [f"  goal: at most {shape.goal} of by hand: {'reached' if reached else 'missed'}"]
    if shape.goal_ms is not None:
        reached = times.difference(VERTEBRA, PLAIN).median <= shape.goal_ms
        return [f"  goal: at most by hand + {shape.goal_ms:g} ms: {'reached' if reached else 'missed'}"]
    return []
