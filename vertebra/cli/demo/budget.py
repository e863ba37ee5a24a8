"""Act 6: seven questions in one letter outgrow the run's budget, and an operator adds to it."""

from __future__ import annotations

from vertebra.cli.demo.play import Play
from vertebra.cli.demo.tickets import LONG
from vertebra.client.runs import PARKED

_TOKENS = 40_000


async def budget(play: Play) -> None:
    """Show what is left, top up, follow."""
    run = play.labelled(LONG)
    before = (await play.picture(run)).run
    bought = play.sales(run)
    play.check(before["state"] == "over_budget", "the next call might cost more than is left, so it was not made")
    await play.vertebra("budgets", "show", run)
    await play.vertebra("budgets", "top-up", run, "--tokens", str(_TOKENS))
    await play.until(run, lambda found: found.run["state"] not in PARKED, "going on after the top-up")
    await play.vertebra("runs", "watch", run)
    after = (await play.picture(run)).run
    play.check(
        after["state"] == "completed" and after["limit_tokens"] == before["limit_tokens"] + _TOKENS,
        f"the run was completed with {after['spent_tokens']} of {after['limit_tokens']} tokens",
    )
    sold = play.sales(run)
    play.check(bought <= sold and set(sold.values()) == {1}, "no model reply was bought twice")
