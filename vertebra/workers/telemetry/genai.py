"""The names of OpenTelemetry's GenAI conventions, in this one place: they are beta, and change.

Names of our own start with `vertebra.`. No attribute holds content: prompts, replies, arguments and results stay in the
audit, where retention and erasure reach them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vertebra.schemas.call import Telemetry

Value = str | int | bool | tuple[str, ...]
Attributes = dict[str, Value]
Kind = Literal["internal", "client"]


def run(graph: str, version: str, state: str) -> tuple[str, Attributes]:
    """Name and attributes of a whole run."""
    plain = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": graph}
    return f"invoke_workflow {graph}", {**plain, "vertebra.graph.version": version, "vertebra.state": state}


def visit(node: str, agent: str | None, role: str) -> tuple[str, Attributes]:
    """One visit of a node: of an agent where the node has one."""
    if agent is None:
        return f"node {node}", {}
    return f"invoke_agent {agent}", {"gen_ai.operation.name": "invoke_agent", **_agent(agent, role)}


def chat(agent: str | None, role: str, provider: str, model: str, told: Telemetry | None) -> tuple[str, Attributes]:
    """One request to a model. What the reply said of itself is there once there is one."""
    found: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        **(_agent(agent, role) if agent else {}),
    }
    if told is not None:
        found["gen_ai.usage.input_tokens"] = told.prompt_tokens
        found["gen_ai.usage.output_tokens"] = told.completion_tokens
        if told.model:
            found["gen_ai.response.model"] = told.model
        if told.finish_reason:
            found["gen_ai.response.finish_reasons"] = (told.finish_reason,)
    return f"chat {model}", found


def execute_tool(tool: str, agent: str | None, role: str) -> tuple[str, Attributes]:
    """One call of a tool."""
    plain = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
    return f"execute_tool {tool}", {**plain, **(_agent(agent, role) if agent else {})}


def request(method: str) -> tuple[str, Attributes]:
    """One request of an `http` node. Its address may hold what a person wrote, so it is not told."""
    return method, {"http.request.method": method}


def function(name: str) -> tuple[str, Attributes]:
    """One call of a project's function, `FILE.py:NAME`."""
    return f"function {name}", {"code.function.name": name}


def failed(why: str) -> Attributes:
    """What a span that ended badly says besides its status."""
    return {"error.type": why}


def ours(**given: str | int | bool | None) -> Attributes:
    """Attributes of our own, without those that are not known."""
    return {f"vertebra.{name}": value for name, value in given.items() if value is not None}


def resource(version: str, worker: str) -> Mapping[str, str]:
    """Who tells."""
    return {"service.name": "vertebra", "service.version": version, "service.instance.id": worker}


def _agent(agent: str, role: str) -> Attributes:
    named: Attributes = {"gen_ai.agent.name": agent, "gen_ai.agent.id": agent}
    return {**named, **({"vertebra.agent.role": role} if role else {})}
