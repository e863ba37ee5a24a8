"""One scenario of each template, offline and on the real servers: the same path, output, cost and record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import WorkflowHandle

from tests.ground import new_namespace
from tests.integration.runs.waits import ended, waiting
from tests.stage import Stage, staged
from tests.stores import PASSWORDS, Migrated
from vertebra.client.approvals import Verdict, approval, decide
from vertebra.client.signing import Signer
from vertebra.services.state import Services
from vertebra.store.migrate import migrate
from vertebra.store.pool import connect
from vertebra.testing import Decision, Scenario, read_scenarios, run_scenario
from vertebra.testing.runner import operations

pytestmark = pytest.mark.server

TEMPLATES = Path(__file__).parents[3] / "vertebra/templates"
DECIDES = "eve"


@pytest.fixture
async def fresh(database: str) -> Migrated:
    """A database of its own: the stage's people are its own too."""
    await asyncio.to_thread(migrate, database, PASSWORDS)
    return Migrated(database)


@pytest.fixture(scope="module")
async def namespace(services: Services) -> str:
    """A namespace of its own, so that no worker of another test takes the calls."""
    return await new_namespace(services.temporal_address, "scenarios")


@pytest.mark.parametrize(
    ("template", "name"),
    [("customer-support", "angry_customer"), ("entity-research", "reviewed"), ("hello-world", "greeting")],
)
async def test_the_server_does_what_the_play_did(
    services: Services, fresh: Migrated, namespace: str, tmp_path: Path, template: str, name: str
) -> None:
    """Nothing that a scenario looks at depends on the fakes."""
    [scenario] = read_scenarios(TEMPLATES / template, name)
    offline = await run_scenario(scenario)

    folder = TEMPLATES / template
    made = staged(services, fresh, tmp_path, replies=scenario.replies, template=folder, namespace=namespace)
    async with made as stage:
        handle = await played(stage, scenario, fresh)
        output, run = await ended(handle, stage)
        steps = await handle.query("state")
        record = await stage.sql("select body from audit where stream = %(id)s order by seq", id=handle.id)

    assert () == offline.differences
    assert offline.outcome.path == tuple(step[0] for step in steps["path"])
    assert offline.outcome.output == output
    assert offline.outcome.cost_microusd == run["spent_microusd"]
    assert offline.outcome.audit == operations(bytes(row["body"]) for row in record)


async def played(stage: Stage, scenario: Scenario, database: Migrated) -> WorkflowHandle[object, object]:
    """Start the scenario's run, and decide what it asks, one request after the other."""
    graph = scenario.compiled.graph
    await stage.enroll(DECIDES, "support_lead", "editor")
    await stage.publish(graph)
    assert isinstance(scenario.input, dict)
    handle = await stage.start(graph, scenario.input)
    for given in scenario.decisions.values():
        for decision in given:
            await answered(stage, handle.id, decision, database)
    return handle


async def answered(stage: Stage, run: str, decision: Decision, database: Migrated) -> None:
    """Decide the open request as the scenario says."""
    wait = await waiting(run, stage, "approval")
    assert decision.verb != "expire"
    async with await connect(database.dsn("vertebra_api")) as connection:
        found = await approval(connection, wait["ref"])
        arguments = decision.arguments
        if decision.verb == "edit" and isinstance(found.arguments, dict) and isinstance(arguments, dict):
            arguments = {**found.arguments, **arguments}
        verdict = Verdict(decision.verb, found.asked.digest, arguments, decision.reason)
        await decide(connection, Signer(DECIDES, stage.keys[DECIDES]), found, verdict)
    await stage.wake(run)
