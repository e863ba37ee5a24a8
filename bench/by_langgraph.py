"""`python -m bench.by_langgraph DSN`: W1 and W2 as LangGraph graphs, checkpointed synchronously, with 16 savers."""

from __future__ import annotations

import asyncio
import itertools
import operator
import sys
from contextlib import AsyncExitStack
from typing import Annotated, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from bench.answering import answer
from bench.project import BRANCHES, INPUT, REPLY, SEQUENCE

SAVERS = 16
_NUMBERS = itertools.count(1)


class State(TypedDict):
    """What the nodes pass on."""

    text: str
    replies: Annotated[list[str], operator.add]


async def _step(state: State) -> dict[str, list[str]]:
    """1 KB."""
    return {"replies": [REPLY]}


def _sequence(saver: AsyncPostgresSaver) -> CompiledStateGraph:
    graph = StateGraph(State)
    nodes = [f"n{index:02}" for index in range(SEQUENCE)]
    for node in nodes:
        graph.add_node(node, _step)
    for one, other in itertools.pairwise([START, *nodes, END]):
        graph.add_edge(one, other)
    return graph.compile(checkpointer=saver)


def _fan(saver: AsyncPostgresSaver) -> CompiledStateGraph:
    graph = StateGraph(State)
    branches = [f"b{index:02}" for index in range(BRANCHES)]
    for node in (*branches, "after"):
        graph.add_node(node, _step)
    for node in branches:
        graph.add_edge(START, node)
    graph.add_edge(branches, "after")
    graph.add_edge("after", END)
    return graph.compile(checkpointer=saver)


async def _work(dsn: str) -> None:
    async with AsyncExitStack() as stack:
        savers = [await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(dsn)) for _ in range(SAVERS)]
        await savers[0].setup()
        turns = {
            "W1": itertools.cycle([_sequence(saver) for saver in savers]),
            "W2": itertools.cycle([_fan(saver) for saver in savers]),
        }

        async def run(shape: str) -> object:
            thread = f"{shape}-{next(_NUMBERS)}"
            given: State = {"text": INPUT, "replies": []}
            config = {"configurable": {"thread_id": thread}, "recursion_limit": 100}
            return await next(turns[shape]).ainvoke(given, config, durability="sync")

        await answer(run)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
