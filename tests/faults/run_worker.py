"""Program of the tests: one gate worker of the project folder it is given, set up by the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from vertebra.settings import load
from vertebra.workers.main import run_worker


async def main() -> None:
    """Work until killed."""
    await run_worker(load(Path(sys.argv[1]), os.environ).settings, asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
