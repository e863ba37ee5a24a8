"""The figures as lines for people: every ratio with its spread, and what was measured on."""

from __future__ import annotations

import os
import platform

import temporalio.service

from bench.measure import Times
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
    for name in times.rounds:
        lines.append(f"  {name:28} {times.median(name):8.1f} ms")
    for rival in (PLAIN, BOOKED):
        lines.append(f"  vertebra / {rival:28} {times.ratio(VERTEBRA, rival)}")
    lines.append(f"  vertebra - {PLAIN:28} {times.difference(VERTEBRA, PLAIN)} ms")
    return "\n".join(lines)
