"""Act 5: Temporal's own CLI terminates a run, and `vertebra resume` takes it up where it was."""

from __future__ import annotations

from vertebra.cli.demo.approval import approve, only_approval
from vertebra.cli.demo.play import Play
from vertebra.cli.endings import NEEDS_PERSON
from vertebra.client.runs import Picture

TERMINATED = "terminated"
_CUSTOMER = "noor@example.com"
_TICKET = "The second grinder (order 6101, $249.00) came with a cracked hopper as well. Please pay this one back, too."


async def termination(play: Play) -> None:
    """Terminate it while it waits for a person, resume it, decide, count what was bought."""
    run = await play.started(
        TERMINATED, "--input", f"ticket={_TICKET}", "--input", f"email={_CUSTOMER}", code=NEEDS_PERSON
    )
    withdrawn = await only_approval(play, run)
    bought = play.sales(run)
    services = play.dev.services
    await play.program(
        *(str(services.temporal_cli), "workflow", "terminate", "--workflow-id", run, "--reason", "demo"),
        *("--address", services.temporal_address),
    )
    await play.vertebra("resume", run)
    with play.screen.busy("the keeper closes the books, resets the run in Temporal, and it asks again"):
        found = await play.until(run, lambda found: _asks_again(found, withdrawn), "asking again")
    play.check(found.run["epoch"] == 1, "the run goes on under its id; what was asked before is withdrawn")
    await approve(play, run, await only_approval(play, run))
    found = await play.picture(run)
    play.check(found.run["state"] == "completed" and play.mails(_CUSTOMER) == 1, "the run was completed, one mail sent")
    play.check(
        play.sales(run) == bought and set(bought.values()) == {1},
        f"{len(bought)} model replies before, {len(play.sales(run))} in the end, none bought twice",
    )


def _asks_again(found: Picture, withdrawn: str) -> bool:
    states = {one["id"]: one["state"] for one in found.approvals}
    first = states.pop(withdrawn)
    return found.run["state"] == "awaiting_human" and first != "pending" and "pending" in states.values()
