"""The acts of the live demo: a few tickets on a real model, what was spent, and the record. No act judges the model."""

from __future__ import annotations

import os
import time

from vertebra.cli.demo.ending import addresses, row
from vertebra.cli.demo.live import TICKETS, Live
from vertebra.cli.demo.play import GRAPH, Play
from vertebra.cli.demo.tickets import label
from vertebra.cli.desk import open_desk
from vertebra.cli.endings import DONE, FAILED, NEEDS_PERSON
from vertebra.client.runs import Picture
from vertebra.ledger.attempts import check_books_query
from vertebra.schemas.ids import SECRET
from vertebra.store.transaction import trip

_PATIENCE_S = 900.0
_HEADS = ("run", "path", "model calls", "tokens", "cost", "approvals", "time")


async def ask(play: Play) -> None:
    """Run the tickets; they may end in any way but in the middle."""
    words = ("run", GRAPH, "--input", f"@{TICKETS}")
    await play.vertebra(*words, code=(DONE, FAILED, NEEDS_PERSON), within_s=_PATIENCE_S)
    await label(play, TICKETS)
    found = [await play.picture(run) for run in play.labels]
    moving = [play.labels[one.run["id"]] for one in found if one.run["state"] == "running"]
    play.check(not moving, f"{', '.join(moving)} still runs" if moving else "every run has ended or waits for a person")
    for one in found:
        play.screen.line(f"  {play.labels[one.run['id']]} is {one.run['state']}")


async def account(play: Play, live: Live) -> None:
    """What was spent stays below the cap, the books are exact, the record is whole and holds no key."""
    found = [await play.picture(run) for run in play.labels]
    play.check(sum(map(_asked, found)) > 0, f"{live.name} was asked {sum(map(_asked, found))} times")
    over = [play.labels[one.run["id"]] for one in found if one.run["spent_microusd"] > one.run["limit_microusd"]]
    play.check(not over, f"{', '.join(over)} spent more than its cap" if over else "no run spent more than its cap")
    async with open_desk().database("vertebra_reader") as connection:
        [wrong] = await trip(connection, [check_books_query()])
    play.check(not wrong, "what each run has spent is the sum of its calls, to the micro-dollar")
    await play.vertebra("audit", "verify")
    for run in play.labels:
        await play.vertebra("audit", "export", run, "--out", f"audit-{play.labels[run].replace(' ', '-')}.jsonl")
    play.check(not _leaks(play, live), "the key stands in no file of the project: record, logs, mails")
    play.screen.table(_HEADS, [row(play, one, _asked(one)) for one in found])
    addresses(play)


def _asked(found: Picture) -> int:
    return sum(call["attempts"] for call in found.calls if call["kind"] == "llm")


def _leaks(play: Play, live: Live) -> list[str]:
    """Files of the project that hold the key."""
    named = SECRET.fullmatch(live.secret or "")
    key = os.environ.get(named["env"], "").encode() if named else b""
    if not key:
        return []
    began = time.monotonic()
    files = [path for path in play.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [str(path) for path in files if key in path.read_bytes()]
    play.screen.line(f"  {len(files)} files were searched in {time.monotonic() - began:.1f} s")
    return found
