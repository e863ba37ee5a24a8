"""The figures as lines for people: every ratio with its spread, and what was measured on."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping

import temporalio.service

from bench import crowd as crowd_
from bench import looping
from bench import memory as memory_
from bench.activation import Activations
from bench.counting import Counts
from bench.counts import MARKER
from bench.crowd import Crowd
from bench.measure import Spread, Times, spread
from bench.project import ROUNDS
from bench.shapes import BOOKED, PLAIN, VERTEBRA, Shape
from bench.stage import Stage


def computer() -> str:
    """The machine in a few words."""
    kernel = platform.release().split("-")[0]
    return f"{os.cpu_count()} cores, {platform.system()} {kernel}, CPython {platform.python_version()}"


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
    rivals = [name for name in times.rounds if name != VERTEBRA]
    lines += [f"  {f'vertebra / {rival}':48} {times.ratio(VERTEBRA, rival)}" for rival in rivals]
    lines.append(f"  {f'vertebra - {PLAIN}':48} {times.difference(VERTEBRA, PLAIN)} ms")
    return "\n".join([*lines, *_verdict(shape, times)])


def loop(took: Spread, growth: Spread) -> str:
    """Whether a loop's last rounds are as quick as its first."""
    reached = "reached" if growth.median <= looping.GOAL else "missed"
    return (
        f"\nLoop of {ROUNDS} rounds of plan, act, observe: {took} ms a round\n"
        f"  {f'the last {looping.AROUND} / the first {looping.AROUND}':48} {growth}\n"
        f"  goal: at most {looping.GOAL}: {reached}"
    )


def memory(kib: Mapping[str, float]) -> str:
    """What a waiting run keeps in its worker."""
    ratio = kib[VERTEBRA] / kib[PLAIN]
    lines = [f"\nW7: memory of one waiting run ({memory_.RUNS} of them, ten nodes each)"]
    lines += [f"  {name:48} {kept:8.1f} KiB" for name, kept in kib.items()]
    lines.append(f"  {f'vertebra / {PLAIN}':48} {ratio:.2f}")
    lines.append(f"  goal: at most {memory_.GOAL} of by hand: {'reached' if ratio <= memory_.GOAL else 'missed'}")
    return "\n".join(lines)


def crowd(runs: int, found: dict[str, list[Crowd]]) -> str:
    """Throughput and processor time."""
    lines = [f"\nW5: {runs} runs of W1 at once {'':22} runs/s   CPU ms a run: worker   server   database"]
    for name, each in found.items():
        speed = statistics.median(one.per_second for one in each)
        spent = [statistics.median(one.cpu_ms[who] for one in each) for who in ("worker", "server", "database")]
        lines.append(f"  {name:48} {speed:8.1f} {spent[0]:21.1f} {spent[1]:8.1f} {spent[2]:10.1f}")
    lines += [f"  {f'vertebra / {rival}':48} {crowd_.ratio(found, rival)}" for rival in (PLAIN, BOOKED)]
    reached = "reached" if crowd_.ratio(found, PLAIN).median >= crowd_.GOAL else "missed"
    return "\n".join([*lines, f"  goal: at least {crowd_.GOAL} of by hand: {reached}"])


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
