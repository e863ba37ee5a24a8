"""Program of the tests: one gate worker of the project folder it is given, set up by the environment."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

from vertebra.settings import load
from vertebra.workers.main import run_worker

SIZE = "size.json"
"""Written into the project folder at SIGUSR1."""


async def main() -> None:
    """Work until killed."""
    project = Path(sys.argv[1])
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, note_size, project)
    await run_worker(load(project, os.environ).settings, asyncio.Event())


def note_size(project: Path) -> None:
    """How much Python holds when nothing is left to collect."""
    gc.collect()
    fresh = project / f"{SIZE}.new"
    fresh.write_text(json.dumps({"objects": len(gc.get_objects()), "blocks": sys.getallocatedblocks()}))
    fresh.rename(project / SIZE)


if __name__ == "__main__":
    asyncio.run(main())
