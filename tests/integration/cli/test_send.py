"""Events from the command line, to a run that waits for one."""

from __future__ import annotations

import pytest

from tests.attacks.forging import Forgery, flood
from tests.attacks.graphs import published, text_of
from tests.integration.cli.shell import Shell
from tests.integration.runs.waits import waiting
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
