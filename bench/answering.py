"""What the other contestants' processes share: read what is asked for, time it, answer."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

Run = Callable[[str], Awaitable[object]]
"""One run of a shape."""


async def answer(run: Run) -> None:
    """Do what the lines of the input ask for: `one SHAPE` or `crowd RUNS`."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, what = line.split()
        began = time.perf_counter()
        if verb == "one":
            await run(what)
        else:
            await asyncio.gather(*(run("W1") for _ in range(int(what))))
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
