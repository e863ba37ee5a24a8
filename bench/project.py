"""The project that is timed: one node kind, `llm` on the scripted provider, without delay, with 1 KB replies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

REPLY = "x" * 1000
"""What every node answers; with its JSON around it, 1 KB."""
INPUT = "A question of ordinary length, the same for every node and every rival."
SEQUENCE, BRANCHES, LONG, ROUNDS = 10, 20, 300, 100

_HEAD = """\
graph: {name}
version: 1.0.0
input:
  text: {{type: string, required: true}}
output:
  last: {{type: string, from: {last}.text}}
spine:
  expires_in: 30d
  budget: {{usd: 10.00, tokens: 10000000, on_breach: pause}}
agents:
  model: {{type: llm, role: answers, model: {{provider: scripted, model: small}}, prompt: bench@1}}
nodes:
"""
_PROMPT = """\
prompt: bench
version: 1
description: The prompt of every timed node
system: You answer.
template: |
  {{text}}
input:
  fields:
    text: {type: string, required: true}
tests: []
"""
_PRICES = "- {provider: scripted, model: small, input: 150000, output: 600000}\n"
_GUARD = """\
guardrails:
  - {id: token-cap, on: "*", at: before, when: "sum(tokens) > 5000000", action: pause}
"""


def sequence(name: str = "w1", count: int = SEQUENCE, guarded: bool = False) -> str:
    """W1 and W3: nodes one after the other, with a guardrail before each call if `guarded`."""
    nodes = [f"n{index:02}" for index in range(1, count + 1)]
    edges = [f"{one} -> {other}" for one, other in zip(nodes, [*nodes[1:], "end"], strict=True)]
    return _graph(name, nodes, edges) + (_GUARD if guarded else "")


def fan() -> str:
    """W2: one step of rules forks into all branches, which meet before one more node."""
    branches = [f"b{index:02}" for index in range(1, BRANCHES + 1)]
    listed = ", ".join(branches)
    fork = "  fork: {type: rules, default: {go: {value: true}}}\n"
    edges = [f"fork -> {listed}", f"{listed} -> after: {{join: all}}", "after -> end"]
    return _graph("w2", [*branches, "after"], edges, extra=fork)


def approval() -> str:
    """W4: a person is asked, then one node works."""
    human = "  ask: {type: human, show: {text: input.text}, assign: [lead], expires_in: 7d}\n"
    return _graph("w4", ["after"], ["ask -> after", "after -> end"], extra=human)


def waiting() -> str:
    """W7: ten nodes, and a person is asked before the first of them."""
    nodes = [f"n{index:02}" for index in range(1, SEQUENCE + 1)]
    human = "  ask: {type: human, show: {text: input.text}, assign: [lead], expires_in: 7d}\n"
    edges = [f"{one} -> {other}" for one, other in zip(["ask", *nodes], [*nodes, "end"], strict=True)]
    return _graph("w7", nodes, edges, extra=human)


def loop() -> str:
    """Plan, act, observe, and again, ROUNDS times; a channel counts the rounds."""
    steps = ("plan", "act", "observe")
    edges = ["plan -> act", "act -> observe"]
    again = [f'observe -> plan: {{when: "state.rounds < {ROUNDS}"}}', "observe -> end: {else: true}"]
    text = _graph("loop", steps, [*edges, *again], keys=f", max_visits: {ROUNDS}")
    text = text.replace("observe: {agent: model,", "observe: {agent: model, write: {rounds: {value: 1}},")
    return text.replace("spine:\n", "state:\n  rounds: {type: integer, default: 0, reduce: sum}\nspine:\n", 1)


def graphs() -> dict[str, str]:
    """All of them, by name."""
    return {
        "w1": sequence(),
        "w1-guarded": sequence("w1-guarded", guarded=True),
        "w2": fan(),
        "w3": sequence("w3", LONG),
        "w4": approval(),
        "w7": waiting(),
        "loop": loop(),
    }


def write_project(folder: Path) -> None:
    """Write the files of a project folder, as an author would."""
    texts = {
        "vertebra.toml": 'name = "bench"\n',
        "prices.yaml": _PRICES,
        "prompts/bench.yaml": _PROMPT,
        **{f"graphs/{name}.yaml": text for name, text in graphs().items()},
        **{f"replies/{node}.yaml": f"- {{reply: {json.dumps(REPLY)}}}\n" for node in _nodes()},
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _nodes() -> list[str]:
    counted = [("n", LONG), ("b", BRANCHES)]
    return [
        "after",
        "plan",
        "act",
        "observe",
        *(f"{letter}{index:02}" for letter, count in counted for index in range(1, count + 1)),
    ]


def _graph(name: str, nodes: Sequence[str], edges: Sequence[str], extra: str = "", keys: str = "") -> str:
    written = "".join(f"  {node}: {{agent: model, input: {{text: input.text}}{keys}}}\n" for node in nodes)
    listed = "".join(f"  - {edge}\n" for edge in edges)
    return _HEAD.format(name=name, last=nodes[-1]) + extra + written + "edges:\n" + listed
