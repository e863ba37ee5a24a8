"""Act 8: every run in one table, and where to look at them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from vertebra.cli.demo.kill import KILLED
from vertebra.cli.demo.play import Play
from vertebra.cli.output import money, span
from vertebra.cli.show import path_of
from vertebra.client.runs import Picture

_HEADS = ("run", "path", "model calls", "tokens", "cost", "approvals", "time")


async def ending(play: Play) -> None:
    """Show the table and the addresses."""
    found = [await play.picture(run) for run in play.labels]
    play.screen.table(_HEADS, [row(play, one, play.sales(one.run["id"]).total()) for one in found])
    left = [f"{play.labels[one.run['id']]} is {one.run['state']}" for one in found if one.run["state"] != "completed"]
    play.check(not left, "; ".join(left) or f"all {len(found)} runs were completed")
    addresses(play, KILLED)


def addresses(play: Play, run: str | None = None) -> None:
    """Where to look, at the run of this label too."""
    services = play.dev.services
    play.screen.line()
    web = f"{services.temporal_ui}/namespaces/{services.temporal_namespace}/workflows"
    for name, place in {
        "Temporal Web UI": web,
        **({f"the {run} run": f"{web}/{play.labelled(run)}"} if run else {}),
        "Temporal": services.temporal_address,
        "mails": str(play.folder / ".vertebra/mail/new"),
        "logs": str(play.folder / ".vertebra/logs"),
    }.items():
        play.screen.line(f"  {name:16} {place}")


def look_around(play: Play, *, stopped: bool) -> None:
    """What a person may type next."""
    program = program_name()
    play.screen.line()
    play.screen.line(f"The project stays in {play.folder}; look around with:")
    play.screen.line(f"  cd {play.folder.name}")
    if stopped:
        play.screen.line(f"  {program} dev            # in a terminal of its own: the services were stopped")
    for words in ("runs list", "show RUN", "audit trace RUN", "approvals list"):
        play.screen.line(f"  {program} {words}")


def program_name() -> str:
    """How to call us from here: a virtual environment that is not active has no place on PATH."""
    ours = Path(sys.executable).parent / "vertebra"
    found = shutil.which("vertebra")
    return "vertebra" if found and Path(found).resolve() == ours.resolve() else str(ours)


def row(play: Play, found: Picture, asked: int) -> tuple[str, ...]:
    """A run as a line of the table; `asked`: how many model calls it made."""
    run = found.run
    return (
        play.labels[run["id"]],
        path_of(found.path) or "-",
        str(asked),
        str(run["spent_tokens"]),
        money(run["spent_microusd"]),
        ", ".join(one["state"] for one in found.approvals) or "-",
        span((run["ended_at"] or run["now"]) - run["started_at"]),
    )
