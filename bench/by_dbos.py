"""`python -m bench.by_dbos DSN`: W1 and W2 as DBOS workflows on the same Postgres."""

from __future__ import annotations

import asyncio
import sys

from dbos import DBOS

from bench.answering import answer
from bench.project import BRANCHES, INPUT, REPLY, SEQUENCE


async def _reply(text: str) -> str:
    """1 KB."""
    return REPLY


_step = DBOS.step()(_reply)


async def _sequence(text: str) -> str:
    found = text
    for _ in range(SEQUENCE):
        found = await _step(text)
    return found


async def _fan(text: str) -> str:
    await asyncio.gather(*(_step(text) for _ in range(BRANCHES)))
    return str(await _step(text))


_SHAPES = {"W1": DBOS.workflow()(_sequence), "W2": DBOS.workflow()(_fan)}


async def _run(shape: str) -> object:
    handle = await DBOS.start_workflow_async(_SHAPES[shape], INPUT)
    return await handle.get_result()


async def _work() -> None:
    DBOS.launch()
    try:
        await answer(_run)
    finally:
        DBOS.destroy()


def main() -> None:
    """The command."""
    DBOS(config={"name": "bench", "system_database_url": sys.argv[1], "log_level": "ERROR"})
    asyncio.run(_work())


if __name__ == "__main__":
    main()
