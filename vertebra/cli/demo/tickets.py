"""Act 2: the first ten tickets at once, followed until each is answered or waits for a person."""

from __future__ import annotations

import json
from collections import Counter

from vertebra.cli.demo.play import GRAPH, Play
from vertebra.cli.endings import NEEDS_PERSON
from vertebra.cli.show import path_of

REFUND, SPAM, INJECTION, HARD, LONG = "ticket 4", "ticket 5", "ticket 6", "ticket 8", "ticket 9"
FILE = "first-tickets.jsonl"
"""What `make` wrote of the template's tickets: more would show nothing new, and take longer."""
TICKETS = 10
_STATES = {"completed": 8, "awaiting_human": 1, "over_budget": 1}
_COLLECTOR = "audit@collector.example"


async def tickets(play: Play) -> None:
    """Run them, and look at what the odd ones did."""
    await play.vertebra("run", GRAPH, "--input", f"@{FILE}", code=NEEDS_PERSON)
    await label(play, FILE)
    states = Counter([await play.state(run) for run in play.labels])
    play.check(states == Counter(_STATES), "8 tickets are answered, one waits for an approval, one for more budget")
    play.check(await _path(play, SPAM) == "classify", f"{SPAM} is spam and ends there")
    play.check("research#2" in await _path(play, HARD), f"{HARD} finds too little, so its research runs twice")
    play.check(
        await _denied(play, INJECTION) and not play.mails(_COLLECTOR),
        f"{INJECTION} talks the model into sending customer data: the tool is denied, no mail leaves",
    )


async def label(play: Play, file: str) -> None:
    """Find the run of each ticket in this file by its input."""
    lines = (play.folder / file).read_text(encoding="utf-8").split("\n")
    known = {}
    for row in await play.runs():
        found = await play.picture(row["id"])
        known[json.loads(bytes(found.run["input"]))["email"]] = row["id"]
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        run = known.get(json.loads(line)["email"])
        if run is not None:
            play.labels[run] = f"ticket {number}"
    play.check(len(play.labels) == number, f"{number} runs, one a ticket")


async def _path(play: Play, label: str) -> str:
    return path_of((await play.picture(play.labelled(label))).path)


async def _denied(play: Play, label: str) -> bool:
    """Whether the record of the run tells of a denied `send_email`."""
    entries = await play.record(play.labelled(label))
    return any(entry.outcome == "denied" for entry in entries)
