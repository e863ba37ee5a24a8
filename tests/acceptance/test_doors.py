"""Runs that are started without vertebra: by Temporal's own CLI, and by ten lines of its Python client."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time

import pytest

from tests.acceptance.shop import GRAPH, Shop

pytestmark = pytest.mark.server

REFUND = {
    "ticket": "My grinder (order 7001, $249.00) came with a cracked hopper. Please pay me back.",
    "email": "zoe@example.com",
}
PROGRAM = """
import asyncio, gc, json, sys
from temporalio.client import Client

async def main() -> None:
    client = await Client.connect(sys.argv[1])
    handle = await client.start_workflow(
        "customer-support", json.loads(sys.argv[3]), id=sys.argv[2], task_queue="vertebra"
    )
    print(json.dumps(await handle.result()))

asyncio.run(main())
gc.collect()  # the library may else abort at exit
"""


def test_started_by_the_temporal_cli(shop: Shop) -> None:
    """The plain CLI starts a run as the graph's own principal; `vertebra approve` lets it go on, once."""
    run = f"by-cli-{secrets.token_hex(4)}"
    started = _temporal(shop, "start", "--type", GRAPH, "--task-queue", "vertebra", "--workflow-id", run, REFUND)
    approval = shop.waiting(run)
    decided = shop("approve", approval, "--as", "ada")
    result = _temporal(shop, "result", "--workflow-id", run)

    assert run in started
    assert 0 == decided.code
    assert '"answered"' in result
    assert "svc-support" == shop.show(run)["principal"]
    assert 4 == len(shop.sales(run)) == len(set(shop.sales(run)))


def test_started_by_ten_lines_of_python(shop: Shop) -> None:
    """A program that knows nothing of vertebra starts a run, waits for its person, and gets the output."""
    run = f"by-python-{secrets.token_hex(4)}"
    words = [sys.executable, "-c", PROGRAM, shop.services.temporal_address, run, json.dumps(REFUND)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
        decided = shop("approve", shop.waiting(run), "--as", "ada")
        said, _ = program.communicate(timeout=90)

    assert 0 == decided.code == program.returncode
    assert "answered" == json.loads(said)["status"]


def test_terminated_by_the_temporal_cli_and_resumed(shop: Shop) -> None:
    """`vertebra resume` takes the run up under its id; it asks anew, and no model reply is bought again."""
    run = f"ended-{secrets.token_hex(4)}"
    _temporal(shop, "start", "--type", GRAPH, "--task-queue", "vertebra", "--workflow-id", run, REFUND)
    first = shop.waiting(run)
    bought = shop.sales(run)
    _temporal(shop, "terminate", "--workflow-id", run, "--reason", "by hand")

    resumed = shop("resume", run)
    second = _asked_again(shop, run, first)
    decided = shop("approve", second, "--as", "ada")
    watched = shop("runs", "watch", run)

    assert 0 == resumed.code == decided.code == watched.code
    assert bought == shop.sales(run)
    assert 1 == shop.show(run)["epoch"]
    assert 1 == shop("approve", first, "--as", "ada").code


def _asked_again(shop: Shop, run: str, first: str) -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found = shop.waiting(run)
        if found != first:
            return found
    raise TimeoutError("the run does not ask again")


def _temporal(shop: Shop, verb: str, *words: str | dict[str, str]) -> str:
    given = [part for word in words for part in (("--input", json.dumps(word)) if isinstance(word, dict) else (word,))]
    services = shop.services
    found = subprocess.run(
        [str(services.temporal_cli), "workflow", verb, *given, "--address", services.temporal_address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout
