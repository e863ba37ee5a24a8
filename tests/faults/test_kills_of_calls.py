"""SIGKILL of the worker while a host or project code is at work for it: what may not happen twice is asked about."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from pydantic import JsonValue

from tests.faults.accounts import check_accounts
from tests.faults.crowd import needs_bwrap
from tests.faults.killing import children, command_line, tool_host_of
from tests.faults.operator import Operator
from tests.faults.plant import Plant
from tests.shop import ANSWER, KEYED, ONCE, READS, asking, open_shop
from vertebra.client import commands
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.tool import ProjectTool
from vertebra.store.transaction import Row
from vertebra.tools.project import describe_all, tool_files

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.timeout(300)]

REQUESTS = {"reads": READS, "keyed": KEYED, "happened": ONCE, "did-not": ONCE}
SENT = {"reads": 2, "keyed": 2, "happened": 1, "did-not": 2}

CODE = """
import time
from typing import TypedDict
from vertebra.tools.contract import tool

class Gross(TypedDict):
    gross: int

@tool(effect="pure")
def add_tax(net: int) -> Gross:
    'Add the tax, slowly.'
    time.sleep(8)
    return {"gross": net * 119}

@tool(effect="irreversible")
def burn(net: int) -> Gross:
    'Do once what cannot be undone, slowly.'
    time.sleep(8)
    return {"gross": net}

def choose(kind: str) -> str:
    time.sleep(8)
    return f"parse_{kind}"
"""
FILE = "tools/slow.py"
RUNS_CODE = """
graph: NAME
version: 1.0.0
input: {net: {type: integer, required: true}}
output: {gross: {type: integer, from: add.gross}}
spine: {principal: svc-support, permissions: [execute_tools], tools: [TOOL], expires_in: 1h}
nodes:
  add: {type: tool, tool: TOOL, args: {net: input.net}, on_error: neverAPPROVAL}
  never: {type: rules, default: {}}
edges:
  - add -> end
  - never -> end
"""
ROUTES = f"""
graph: killed-router
version: 1.0.0
input: {{net: {{type: integer, required: true}}}}
spine: {{principal: svc-support, expires_in: 1h}}
nodes:
  route: {{type: router, function: "{FILE}:choose", input: {{kind: {{value: word}}}}}}
  parse_pdf: {{type: rules, default: {{}}}}
  parse_word: {{type: rules, default: {{}}}}
edges:
  - route -> parse_pdf
  - route -> parse_word
"""


async def test_a_request_that_lost_its_worker_is_sent_again_only_where_that_is_safe(
    plant: Plant, report: Callable[[str], None]
) -> None:
    """Reading and a keyed request go again, under one key; of any other a person says whether it happened."""
    async with open_shop() as shop:
        shop.silent = len(REQUESTS)
        here = f"127.0.0.1:{shop.port}"  # the worker is a process of its own, and knows no shop.example
        graphs = {name: await plant.publish(asking(name, here, request)) for name, request in REQUESTS.items()}
        async with plant.worker(plant.project({}), settings=_reaching(here)):
            runs = {name: (await plant.stage.start(graph, {"order": "7"})).id for name, graph in graphs.items()}
            await _until(lambda: len(shop.asked) == len(runs))
            plant.supervisor.kill("worker")
            ended, asked = await _all_end(plant, runs, ANSWER)

    counts = await check_accounts(plant.stage, list(runs.values()))
    report(f"worker killed with {len(runs)} requests at a host: {counts}; asked: {dict(asked)}")
    assert dict.fromkeys(runs, ("completed", b'{"total":41}')) == {
        name: (row["state"], bytes(row["output"])) for name, row in ended.items()
    }
    keys = {name: shop.keys_of(name) for name in runs}
    assert SENT == {name: len(found) for name, found in keys.items()}
    assert {"reads": {""}} == {name: {*found} for name, found in keys.items() if len({*found}) != 1 or "" in found}
    assert {"happened": 1, "did-not": 1} == asked
    assert {name: ["unknown", "settled"] for name in ("reads", "keyed", "did-not")} | {"happened": ["unknown"]} == {
        name: await _attempts(plant, run) for name, run in runs.items()
    }


@needs_bwrap
async def test_project_code_dies_with_its_worker_and_runs_again_only_where_that_is_safe(
    plant: Plant, report: Callable[[str], None]
) -> None:
    """A pure tool and a router's function run again in the next worker; of an irreversible tool a person says."""
    graphs = await _published(plant)
    async with plant.worker(plant.project({})):
        runs = {name: (await plant.stage.start(graph, {"net": 1})).id for name, graph in graphs.items()}
        host = await tool_host_of(plant)
        await _until(lambda: len(children(host)) == len(runs))
        jobs = [host, *_below(host)]
        plant.supervisor.kill("worker")
        await _until(lambda: not any(command_line(job) for job in jobs))
        ended, asked = await _all_end(plant, runs, {"gross": 7})

    counts = await check_accounts(plant.stage, list(runs.values()))
    report(f"worker killed with {len(runs)} jobs in the sandbox, {len(jobs)} processes: {counts}; asked: {dict(asked)}")
    assert {"completed"} == {row["state"] for row in ended.values()}
    assert {"killed-pure": b'{"gross":119}', "killed-once": b'{"gross":7}', "killed-router": b"{}"} == {
        name: bytes(row["output"]) for name, row in ended.items()
    }
    assert {"killed-once": 1} == asked
    assert ["unknown", "settled"] == await _attempts(plant, runs["killed-pure"])
    assert ["unknown", "settled"] == await _attempts(plant, runs["killed-router"])
    assert ["unknown"] == await _attempts(plant, runs["killed-once"])
    assert ["route#1", "parse_word#1"] == await _tasks(plant, runs["killed-router"])


async def _all_end(plant: Plant, runs: dict[str, str], answer: JsonValue) -> tuple[dict[str, Row], Counter[str]]:
    """The rows of the runs, and how often an operator was asked if a call had happened. All had but `did-not`."""

    def unblock(wait: Row) -> commands.Order:
        verb: commands.Verb = "retry" if wait["run"] == runs.get("did-not") else "override"
        return commands.Order(verb, wait["node"], wait["visit"], answer if verb == "override" else None)

    operators = {name: Operator(plant, [run], unblock) for name, run in runs.items()}
    rows = await asyncio.gather(*(operator.until_all_ended(180) for operator in operators.values()))
    did = {name: operator.did for name, operator in operators.items() if operator.did}
    assert {"UnknownOutcome"} >= {what for said in did.values() for what in said}, did
    ended = {name: row for name, [row] in zip(operators, rows, strict=True)}
    return ended, Counter({name: said.total() for name, said in did.items()})


async def _published(plant: Plant) -> dict[str, CompiledGraph]:
    """A graph with a pure tool of a project, one with an irreversible one, and one with a router's function."""
    stage, tools = plant.stage, await _tools(plant)
    pure = _filled(RUNS_CODE, NAME="killed-pure", TOOL="add_tax", APPROVAL="")
    once = _filled(RUNS_CODE, NAME="killed-once", TOOL="burn", APPROVAL=", approval: {never: a test}")
    files = {FILE: CODE}
    graphs = [stage.compile(pure, tools=tools), stage.compile(once, tools=tools), stage.compile(ROUTES, files=files)]
    for graph in graphs:
        await stage.publish(graph, tools=tools, files=files)
    return {graph.name: graph for graph in graphs}


async def _tools(plant: Plant) -> tuple[ProjectTool, ...]:
    folder = plant.folder / "authors"
    (folder / "tools").mkdir(parents=True)
    (folder / FILE).write_text(CODE)
    assert plant.stage.world.tool_host is not None
    return await describe_all(folder, tool_files(folder), plant.stage.world.tool_host)


def _filled(text: str, **parts: str) -> str:
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def _reaching(here: str) -> dict[str, str]:
    """Settings of a worker that may send requests to this port of this machine."""
    return {
        "VERTEBRA_EGRESS_HOSTS": here,
        "VERTEBRA_EGRESS_INSIDE": here,
        "VERTEBRA_EGRESS_INSIDE_IS_UNSAFE": "true",
    }


def _below(pid: int) -> list[int]:
    """Every process that this one has started, and those that they have."""
    return [found for child in children(pid) for found in (child, *_below(child))]


async def _until(check: Callable[[], bool]) -> None:
    for _ in range(1200):
        if check():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to that")


async def _attempts(plant: Plant, run: str) -> list[str]:
    rows = await plant.sql("select state from attempts where run = %(run)s order by call, n", run=run)
    return [row["state"] for row in rows]


async def _tasks(plant: Plant, run: str) -> list[str]:
    rows = await plant.sql(
        "select node, visit from envelopes where run = %(run)s and kind = 'task' order by id", run=run
    )
    return [f"{row['node']}#{row['visit']}" for row in rows]
