"""Events from the command line, to a run that waits for one."""

from __future__ import annotations

import pytest

from tests.attacks.forging import Forgery, flood
from tests.attacks.graphs import published, text_of
from tests.integration.cli.shell import Shell
from tests.integration.runs.waits import waiting
from vertebra.client.runs import standing
from vertebra.schemas.run import MAX_EVENTS

pytestmark = pytest.mark.server

HEARS = "  hear: {type: wait, event: paid, write: {said: payload.by}}\n"


async def test_an_event_is_sent_and_taken(shell: Shell) -> None:
    """The run goes on with the payload."""
    handle = await shell.stage.start(await published(shell.stage, text_of("told", HEARS)), {"text": "x"})
    await waiting(handle.id, shell.stage, "event")

    said = await shell.done("send", handle.id, "paid", "--payload", "by=card", "--json")

    assert said.fields["woken"]
    assert {"said": "card"} == await shell.result(handle)


async def test_who_follows_a_run_is_told_what_it_waits_for(shell: Shell) -> None:
    """The row that `run` and `runs watch` tell names the event of the waiting node, and so does `show`."""
    handle = await shell.stage.start(await published(shell.stage, text_of("named", HEARS)), {"text": "x"})
    await waiting(handle.id, shell.stage, "event")

    async with shell.stage.api.connection() as connection:
        before = (await standing(connection, [handle.id]))[handle.id]
    shown = await shell.done("show", handle.id)
    await shell.done("send", handle.id, "paid", "--payload", "by=card")
    watched = await shell.done("runs", "watch", handle.id)
    async with shell.stage.api.connection() as connection:
        after = (await standing(connection, [handle.id]))[handle.id]

    assert (["paid"], []) == (before["events"], after["events"])
    assert f"vertebra send {handle.id} paid" in shown.out
    assert "waits for" not in watched.out.splitlines()[-1]


async def test_a_full_run_is_sent_no_more(shell: Shell) -> None:
    """Exit code 1, with the number, the bound and where to look; the run can still be ended."""
    handle = await shell.stage.start(await published(shell.stage, text_of("sated", HEARS)), {"text": "x"})
    await waiting(handle.id, shell.stage, "event")
    other = b'{"event": "other", "payload": {}}'
    await flood(shell.stage, handle.id, Forgery("genuine", arguments=other), MAX_EVENTS)

    said = await shell.call("send", handle.id, "paid")
    await shell.done("cancel", handle.id)

    assert 1 == said.code
    assert f"holds {MAX_EVENTS} events that nobody took" in said.err
    assert f"vertebra show {handle.id}" in said.err
    assert "cancelled" == (await shell.ends(handle))["state"]
