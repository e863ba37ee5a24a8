"""The graph's own `on_error`: as if it stood on each node that may fail, and nowhere else."""

from __future__ import annotations

import re

import pytest

from vertebra.compiler import Catalogue, compile_text
from vertebra.schemas.errors import Complaints

GRAPH = """
graph: g
version: 1.0.0
input: {text: {type: string, required: true}, due: {type: string, required: true}}
state: {why: {type: string, default: none}}
on_error: apologise
spine: {permissions: [execute_tools], tools: [search_docs], expires_in: 8h, budget: {usd: 1.00, tokens: 5000}}
agents:
  sorter: {type: llm, model: {provider: scripted, model: small}, prompt: classify@1}
nodes:
  begin: {type: rules, default: {ok: {value: true}}}
  sort: {agent: sorter, input: {ticket: input.text}}                                 # MARK
  look: {type: tool, tool: search_docs, args: {query: input.text}, optional: true}
  own: {type: tool, tool: search_docs, args: {query: input.text}, on_error: other}
  pause: {type: wait, for: 2h}
  due: {type: wait, until: input.due}                                                # MARK
  paid: {type: wait, event: paid}
  late: {type: wait, event: paid, expires_in: 1h}                                    # MARK
  pick: {type: router, field: input.text, routes: {a: weigh, "*": ask}}
  weigh: {type: rules, rules: [{when: "input.text == 'b'", then: {ok: {value: 1}}}], default: {ok: {value: 0}}} # MARK
  ask: {type: human, show: {text: input.text}, assign: [manager], form: {ok: {type: boolean}}, expires_in: 1d} # MARK
  other: {type: tool, tool: search_docs, args: {query: input.text}}                  # MARK
  apologise: {type: tool, tool: search_docs, args: {query: error.message}, write: {why: {value: failed}}}
  after: {type: tool, tool: search_docs, args: {query: state.why}}
edges:
  - begin -> sort
  - sort -> look
  - look -> own
  - own -> pause
  - pause -> due
  - due -> paid
  - paid -> late
  - late -> pick
  - apologise -> after
"""

FIRST = """
graph: g
version: 1.0.0
on_error: sorry
spine: {permissions: [execute_tools], tools: [search_docs], expires_in: 8h}
nodes:
  sorry: {type: rules, default: {why: error.type}}
  look: {type: tool, tool: search_docs, args: {query: {value: x}}}
"""


def each(text: str) -> str:
    """The same graph with the fallback on each node that is marked, and none of its own."""
    text = text.replace("on_error: apologise\n", "")
    return re.sub(r"\}( *# MARK)", r", on_error: apologise}\1", text)


def test_it_is_as_if_each_node_that_may_fail_said_it(catalogue: Catalogue) -> None:
    """Same digest. Not those that say otherwise, that cannot fail, or that only the fallback leads to."""
    once, written = (compile_text(text, "g.yaml", catalogue) for text in (GRAPH, each(GRAPH)))

    taking = {name for name, node in once.nodes.items() if node.on_error == "apologise"}
    assert {"sort", "due", "late", "weigh", "ask", "other"} == taking
    assert "other" == once.nodes["own"].on_error
    assert written.digest == once.digest


def test_a_cap_is_a_way_to_fail(catalogue: Catalogue) -> None:
    """A node that cannot fail otherwise takes the fallback at its last visit."""
    text = GRAPH.replace(
        "default: {ok: {value: true}}}\n  sort", "default: {ok: {value: true}}, max_visits: 2}\n  sort"
    )

    assert "apologise" == compile_text(text, "g.yaml", catalogue).nodes["begin"].on_error


def test_the_start_is_the_same_when_the_fallback_stands_first(catalogue: Catalogue) -> None:
    """The nodes that take it lead to it, so that it is no node without in-edges."""
    compiled = compile_text(FIRST, "g.yaml", catalogue)

    assert ("look", "sorry") == (compiled.start, compiled.nodes["look"].on_error)


def test_a_way_back_needs_a_cap(catalogue: Catalogue) -> None:
    """A fallback that leads into the ways that it ends is a cycle, as it is where each node says it."""
    text = GRAPH.replace("apologise -> after", "apologise -> sort").replace("  after: ", "  # ")

    told = []
    for one in (text, each(text)):
        with pytest.raises(Complaints) as refused:
            compile_text(one, "g.yaml", catalogue)
        told.append(re.sub(r"g\.yaml:\d+: ", "", str(refused.value)))

    assert "the cycle sort -> apologise -> sort has no max_visits" in told[0]
    assert told[0] == told[1]
