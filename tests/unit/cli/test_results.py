from __future__ import annotations

from typing import cast

import pytest

from vertebra.cli.results import pairs_of, read_result
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput
from vertebra.schemas.graph import CompiledGraph, Condition, Node, Rule, Value
from vertebra.store.pool import Connection

NOWHERE = cast(Connection, None)
GRAPH = cast(CompiledGraph, None)
FORM = '{"amount": {"type": "integer", "required": true}, "note": {"type": "string"}}'
ASK = Node(id="ask", type="human", form_json=FORM)
ASK_PLAINLY = Node(id="ask", type="human")
TRUE = Condition(source="true", text="true")
RULES = Node(
    id="route",
    type="rules",
    rules=(Rule(when=TRUE, then={"team": Value(json_text='"a"'), "why": Value(json_text='"x"')}),),
    default={"team": Value(path="input.team"), "weight": Value(json_text="1")},
)


async def result(node: Node, *given: str) -> Json:
    return await read_result(NOWHERE, "default", GRAPH, node, given, "ada")


@pytest.mark.parametrize(
    ("node", "given", "wanted"),
    [
        (ASK_PLAINLY, ["decision=deny"], {"decision": "deny", "answer": None, "decided_by": "ada"}),
        (ASK, ["decision=deny", "decided_by=bo"], {"decision": "deny", "answer": None, "decided_by": "bo"}),
        (
            ASK,
            ["decision=approve", 'answer={"amount": 3}'],
            {"decision": "approve", "answer": {"amount": 3}, "decided_by": "ada"},
        ),
        (RULES, ["team=a"], {"team": "a"}),
        (RULES, ["team=a", "weight=2"], {"team": "a", "weight": 2}),
    ],
)
async def test_a_result_that_the_node_could_have_given_is_read(node: Node, given: list[str], wanted: Json) -> None:
    """Of a question: who overrides is who decided, unless said; of rules: text where they give text, else JSON."""
    assert wanted == await result(node, *given)


@pytest.mark.parametrize(
    ("node", "given", "said"),
    [
        (ASK_PLAINLY, [], "decision: is required"),
        (ASK_PLAINLY, ["decision=maybe"], "decision: must be one of"),
        (ASK_PLAINLY, ["decision=deny", "answer={}"], "no field 'answer'"),
        (ASK, ["decision=approve"], "answer: is required; its fields are amount, note"),
        (ASK, ["decision=approve", "answer={}"], "amount: is required"),
        (ASK, ["decision=approve", 'answer={"amount": "3"}'], "must be an integer"),
        (RULES, [], "team: is required"),
        (RULES, ["team=a", "weihgt=2"], "no field 'weihgt'; did you mean 'weight'"),
        (RULES, ["team=a", "weight=two"], "--result weight"),
    ],
)
async def test_any_other_result_is_refused(node: Node, given: list[str], said: str) -> None:
    """Before anything is signed, and by the option's own name."""
    with pytest.raises(BadInput) as refused:
        await result(node, *given)

    assert said in str(refused.value)


def test_pairs_are_read_by_the_schema() -> None:
    """Text where a schema says string; a schema without properties names no field."""
    schema: dict[str, Json] = {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": True}}

    assert {"a": "string", "b": "dict", "c": "dict"} == {name: field.type for name, field in pairs_of(schema).items()}
    assert {} == pairs_of({"type": "string"})
