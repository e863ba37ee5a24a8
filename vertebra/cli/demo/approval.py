"""Act 3: a refund of $249 waits for the lead of the team, who sees the exact mail and decides it."""

from __future__ import annotations

from vertebra.cli.demo.play import LEAD, CannotGoOn, Play
from vertebra.cli.demo.tickets import REFUND
from vertebra.cli.endings import FAILED
from vertebra.client.runs import PARKED

_CUSTOMER = "priya@example.org"


async def approval(play: Play) -> None:
    """List, show, let the wrong person try, decide."""
    run = play.labelled(REFUND)
    await play.vertebra("approvals", "list")
    id_ = await only_approval(play, run)
    shown = await play.heard("approvals", "show", id_)
    play.check(_CUSTOMER in shown and "$249.00" in shown, "the exact mail is shown before anybody decides")
    await play.heard("approve", id_, "--as", "bo", code=FAILED)
    play.check(not play.mails(_CUSTOMER), "bo is not assigned yet, so he cannot; nothing was sent")
    await approve(play, run, id_)
    play.check(play.mails(_CUSTOMER) == 1, "the mail was sent once, as it was shown")


async def only_approval(play: Play, run: str) -> str:
    """The one request that this run waits for. Raises CannotGoOn."""
    found = await play.pending(run)
    if len(found) != 1:
        raise CannotGoOn(f"the run waits for {len(found)} approvals, not one")
    return found[0]


async def approve(play: Play, run: str, id_: str) -> None:
    """Approve exactly what was shown, and follow the run to its end."""
    digest = (await play.approval(id_)).asked.digest
    await play.vertebra("approve", id_, "--digest", digest, "--as", LEAD)
    await play.until(run, lambda found: found.run["state"] not in PARKED, "going on after the approval")
    await play.vertebra("runs", "watch", run)
