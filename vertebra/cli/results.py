"""What a node's result must look like, so that one given by hand is checked before anybody signs it.

The shape comes from what the graph pins: the prompt's output, the tool's output schema, the form of a question, the
fields that rules give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from vertebra.cli.inputs import read_inputs
from vertebra.client import graphs
from vertebra.policies.fields import check_fields, nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput, BadToolOutput
from vertebra.schemas.fields import Field, Fields, fields_of
from vertebra.schemas.graph import CompiledGraph, Node
from vertebra.schemas.prompt import Prompt
from vertebra.schemas.tool import ToolSpec
from vertebra.store.pool import Connection
from vertebra.tools.checks import check_output

AT = "--result"
_TEXT = Field(type="string", required=True)
_DECISION = Field(type="enum", values=("approve", "deny"), required=True)
_AS_JSON = Field(type="dict")
"""A field whose text is read as JSON: `7` is a number, and a text needs its quotes."""


async def read_result(
    connection: Connection, tenant: str, graph: CompiledGraph, node: Node, given: Sequence[str], by: str
) -> Json:
    """The result of a node that `by` gives in its place. Raises BadInput where the node could not have given it."""
    at = f"the result of {node.id!r}"
    if node.tool is not None:
        spec = tool_of(await graphs.pinned(connection, tenant, graph.tools[node.tool]))
        return _of_tool(spec, given)
    if node.agent is not None:
        pin = graph.agents[node.agent].prompt_digest
        prompt = Prompt.model_validate(json.loads(await graphs.pinned(connection, tenant, pin)))
        fields: Fields = prompt.output or {"text": _TEXT}
        return check_fields(fields, _read(given, fields), at=at)
    if node.type == "human":
        return _of_question(node, given, by, at)
    return _of_rules(node, given, at)


def tool_of(data: bytes) -> ToolSpec:
    """A tool's definition as it was pinned: its two schemas are texts there, because they may hold floats."""
    plain = json.loads(data)
    schemas = {name: json.loads(plain[name]) for name in ("input_schema", "output_schema")}
    return ToolSpec.model_validate(plain | schemas)


def pairs_of(schema: Mapping[str, Json]) -> Fields:
    """How `k=v` is read for a JSON Schema: text where it says string, else JSON."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _TEXT if _is_text(declared) else _AS_JSON for name, declared in properties.items()}


def _is_text(declared: Json) -> bool:
    return isinstance(declared, dict) and declared.get("type") == "string"


def _of_tool(spec: ToolSpec, given: Sequence[str]) -> Json:
    value = _read(given, pairs_of(spec.output_schema))
    try:
        check_output(spec, value)
    except BadToolOutput as error:
        raise BadInput(f"tool {error.message}", at=AT, do="give what the tool would have answered") from None
    return value


def _of_question(node: Node, given: Sequence[str], by: str, at: str) -> Json:
    form = None if node.form_json is None else fields_of(node.form_json)
    fields = {"decision": _DECISION, "decided_by": Field(type="string", default=by)}
    if form is not None:
        fields["answer"] = Field(type="dict", fields=form)
    value = check_fields(fields, _read(given, fields), at=at)
    if form is not None and value["decision"] == "approve" and "answer" not in value:
        raise BadInput(f"answer: is required; its fields are {', '.join(form)}", at=at)
    return {"answer": None, **value}


def _of_rules(node: Node, given: Sequence[str], at: str) -> Json:
    """Rules declare no types: the fields that some outcome has, among them those that every outcome has."""
    outcomes = [rule.then for rule in node.rules] + ([] if node.default is None else [node.default])
    values = [(name, value) for outcome in outcomes for name, value in outcome.items()]
    texts = {name for name, value in values if (value.json_text or "").startswith('"')}
    known = list(dict.fromkeys(name for name, _ in values))
    result = _read(given, {name: _TEXT if name in texts else _AS_JSON for name in known})
    if not isinstance(result, dict):
        raise BadInput("must be an object", at=at)
    for name in result:
        if name not in known:
            raise BadInput(f"{name}: is not declared", at=at, do=nearest(name, known))
    for name in known:
        if name not in result and all(name in outcome for outcome in outcomes):
            raise BadInput(f"{name}: is required", at=at)
    return result


def _read(given: Sequence[str], fields: Fields) -> Json:
    return read_inputs(given, fields, at=AT)[0]
