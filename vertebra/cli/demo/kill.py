"""Act 4: the worker dies by SIGKILL while a model is answering, and the run goes on."""

from __future__ import annotations

import os
import signal

from vertebra.cli.demo.play import Play
from vertebra.cli.demo.start import SLOW
from vertebra.client.runs import Picture

KILLED = "killed"
_CUSTOMER = "kim@example.com"
_NODE = "draft"


async def kill(play: Play) -> None:
    """Kill it while the draft is being written; count what was bought."""
    ticket = f"The pump of my Copper One hums when the tank is low. Is that bad? Please {SLOW}."
    run = await play.started(KILLED, "--input", f"ticket={ticket}", "--input", f"email={_CUSTOMER}", "--no-follow")
    await play.until(run, _writing, "the call of the slow model")
    bought = play.sales(run)
    victim = play.dev.services.pids["worker"]
    play.screen.command(("kill", "-9", str(victim)), f"the worker, while the model answers at {_NODE!r}")
    os.kill(victim, signal.SIGKILL)
    play.screen.line("the supervisor starts another; Temporal notices the lost call when its heartbeats stop, in 10 s")
    await play.vertebra("runs", "watch", run)
    await play.vertebra("show", run)
    found = await play.picture(run)
    sold = play.sales(run)
    play.check(play.dev.services.pids["worker"] != victim, "another worker took over")
    play.check(found.run["state"] == "completed" and play.mails(_CUSTOMER) == 1, "the run was completed, one mail sent")
    play.check(
        len(bought) == 3 and len(sold) == 4 and set(sold.values()) == {1},
        "3 model replies before the kill, 4 in the end, none bought twice",
    )
    play.check(
        found.run["held_microusd"] > 0, "what the lost attempt may have cost stays held until somebody has checked"
    )


def _writing(found: Picture) -> bool:
    return any(call["node"] == _NODE and call["status"] == "intended" for call in found.calls)
