"""Requests, project tools and routers of a run that ended from outside: what was done is not done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.runs.waits import ended, tasks, waiting
from tests.integration.workers.desk import WAYS, goes_on, until
from tests.shop import ANSWER, KEYED, ONCE, Shop, asking
from tests.stage import Stage
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.transaction import Row
from vertebra.tools.project import describe_all, tool_files

pytestmark = pytest.mark.server

FILE = "tools/marks.py"
CODE = """
import secrets
from typing import TypedDict
from vertebra.tools.contract import tool

class Mark(TypedDict):
    text: str

@tool(effect="pure")
def mark(order: str) -> Mark:
    'Give another text at every call.'
    return {"text": order + secrets.token_hex(8)}

def choose(kind: str) -> str:
    return "even" if kind.startswith("7") else "odd"
"""
GRAPH = """
graph: NAME
version: 1.0.0
input: {order: {type: string, required: true}}
output: {mark: {type: string, from: state.mark}, total: {type: integer, from: wire.body.total}}
state: {mark: {type: string}}
spine:
  {principal: svc-support, permissions: [execute_tools], tools: [mark], expires_in: 1h,
   budget: {usd: 1.00, tokens: 100000, on_breach: reject}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
  look: {type: http, address: "http://HOST/look/{input.order}"}
  book:
    {type: http, method: POST, address: "http://HOST/book", body: {order: input.order},
     headers: {Idempotency-Key: {value: call}}}
  wire: {type: http, method: POST, address: "http://HOST/wire", body: {order: input.order}, approval: {never: a test}}
  mark: {type: tool, tool: mark, args: {order: input.order}, write: {mark: text}}
  route: {type: router, function: "FILE:choose", input: {kind: state.mark}}
  even: {type: rules, default: {}}
  odd: {type: rules, default: {}}
  broken: {agent: speaker, input: {text: input.order}, retry: {max_attempts: 1, backoff: 10ms}}
edges:
  - look -> book
  - book -> wire
  - wire -> mark
  - mark -> route
  - route -> even
  - route -> odd
  - even -> broken
  - odd -> broken
"""
FINISHED = """
select c.node, c.id, c.status, c.result, a.n, a.state from calls c left join attempts a on a.call = c.id
where c.run = %(run)s and c.node <> 'broken' order by c.node, a.n
"""


async def published(stage: Stage, shop: Shop, folder: Path, name: str) -> CompiledGraph:
    (folder / "tools").mkdir()
    (folder / FILE).write_text(CODE)
    assert stage.world.tool_host is not None
    tools = await describe_all(folder, tool_files(folder), stage.world.tool_host)
    text = GRAPH.replace("NAME", name).replace("HOST", shop.host).replace("FILE", FILE)
    graph = stage.compile(text, tools=tools, files={FILE: CODE})
    await stage.publish(graph, tools=tools, files={FILE: CODE})
    return graph


async def finished(stage: Stage, run: str) -> list[Row]:
    """Every attempt of every node but the one that fails."""
    return await stage.sql(FINISHED, run=run)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)")
@pytest.mark.parametrize("history", WAYS)
async def test_no_finished_call_of_any_kind_is_made_again(
    stage: Stage, shop: Shop, tmp_path: Path, history: bool
) -> None:
    """Of five calls none is sent, run or asked again: same attempts, same requests, the first results."""
    graph = await published(stage, shop, tmp_path, f"calls-{history}".lower())
    handle = await stage.start(graph, {"order": "7"})
    await waiting(handle.id, stage, "blocked")
    before, asked = await finished(stage, handle.id), len(shop.asked)

    await goes_on(stage, handle, history)
    await waiting(handle.id, stage, "blocked")
    await stage.command(handle.id, "override", "broken", 1, arguments={"text": "by hand"})
    output, run = await ended(stage.client.get_workflow_handle(handle.id), stage)

    assert ("completed", 1) == (run["state"], run["epoch"])
    assert [(name, "done", 1, "settled") for name in ("book", "look", "mark", "route", "wire")] == [
        (row["node"], row["status"], row["n"], row["state"]) for row in before
    ]
    assert (before, asked) == (await finished(stage, handle.id), len(shop.asked))
    [first] = [json.loads(bytes(row["result"]))["result"]["text"] for row in before if row["node"] == "mark"]
    assert {"mark": first, "total": 41} == output
    done = ["look#1", "book#1", "wire#1", "mark#1", "route#1", "even#1"]
    assert dict.fromkeys(done, 1) == {name: (await tasks(handle.id, stage)).count(name) for name in done}


@pytest.mark.parametrize("history", WAYS)
@pytest.mark.parametrize(("request_of", "times"), [(KEYED, 2), (ONCE, 1)], ids=["keyed", "irreversible"])
async def test_a_request_in_flight_is_sent_again_only_under_its_key(
    stage: Stage, shop: Shop, history: bool, request_of: str, times: int
) -> None:
    """The run ended before the host answered: a keyed request goes again, of any other a person says if it arrived."""
    name = f"silent-{'keyed' if times == 2 else 'once'}-{history}".lower()
    graph = stage.compile(asking(name, shop.host, request_of))
    await stage.publish(graph)
    shop.silent = 1

    handle = await stage.start(graph, {"order": "7"})
    await until(lambda: _heard(shop, name))
    await goes_on(stage, handle, history)
    if times == 1:
        wait = await waiting(handle.id, stage, "blocked")
        assert "UnknownOutcome" == json.loads(bytes(wait["error"]))["type"]
        await stage.command(handle.id, "override", "ask", 1, arguments=ANSWER)
    output, run = await ended(stage.client.get_workflow_handle(handle.id), stage)

    assert ("completed", 1, {"total": 41}) == (run["state"], run["epoch"], output)
    keys = shop.keys_of(name)
    assert (times, 1) == (len(keys), len(set(keys)))


async def _heard(shop: Shop, name: str) -> list[str]:
    return shop.keys_of(name)
