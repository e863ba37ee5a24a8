"""Act 1: a project folder from the template, and everything that runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from vertebra.cli.demo.play import Play, run_program
from vertebra.cli.demo.screen import Screen
from vertebra.cli.demo.services import VERTEBRA
from vertebra.cli.demo.tickets import FILE, TICKETS
from vertebra.schemas.errors import AlreadyRunning, ForeignData, ServiceFailed
from vertebra.services.state import FOLDER, is_live
from vertebra.settings import PROJECT_FILE

SLOW = "take your time"
_SLOW_REPLY = {
    "match": SLOW,
    "reply": {
        "text": "Dear Kim,\n\na humming pump draws air: fill the tank.\n\nCopperleaf Support\n",
        "refund_usd": 0.0,
    },
    "delay": "3s",
}
"""The scripted model takes three seconds for this letter, so that its worker can be killed meanwhile."""


def clear(folder: Path) -> None:
    """Remove what the last demo left. Raises AlreadyRunning, ForeignData."""
    if folder.is_symlink() or (folder.exists() and not (folder / PROJECT_FILE).is_file()):
        raise ForeignData("this is no folder of an earlier demo", at=folder, do="move it away")
    if is_live(folder / FOLDER):
        raise AlreadyRunning(
            "a demo runs in this folder", at=folder, do="stop it, or look around: vertebra --project .demo runs list"
        )
    if folder.exists():
        shutil.rmtree(folder)


async def make(folder: Path, screen: Screen) -> None:
    """`vertebra init`, the first of its tickets, and one more scripted reply. Raises ServiceFailed."""
    words = ("init", folder.name)
    screen.command(("vertebra", *words))
    code, said = await run_program((*VERTEBRA, *words), folder.parent, capture=True)
    screen.line(said.rstrip())
    if code:
        raise ServiceFailed("the project folder was not made", at=folder)
    tickets = (folder / "tickets.jsonl").read_text(encoding="utf-8").split("\n")
    (folder / FILE).write_text("\n".join(tickets[:TICKETS]) + "\n", encoding="utf-8")
    file = folder / "replies" / "draft.yaml"
    file.write_text(yaml.safe_dump([_SLOW_REPLY]) + file.read_text(encoding="utf-8"), encoding="utf-8")


async def start(play: Play) -> None:
    """Postgres, Temporal, a worker; the graph published."""
    play.screen.command(("cd", play.folder.name))
    play.screen.command(("vertebra", "dev"), "goes on in the background")
    with play.screen.busy("starting Postgres, Temporal and a worker"):
        await play.dev.start()
    services = play.dev.services
    play.check({"postgres", "temporal", "worker"} <= set(services.pids), "Postgres, Temporal and a worker run")
