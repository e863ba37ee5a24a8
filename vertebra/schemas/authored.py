"""What an author writes: an immutable, uncompiled graph. YAML and the Python builder both end here.

Only the shape is checked here; what the names mean is the compiler's affair. Values in `input`, `args`, `then` and the
like stay as written, because a path can be told from a mistake only with the whole graph in sight.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, NonNegativeInt, SkipValidation

from vertebra.schemas.fields import Field as FieldSpec
from vertebra.schemas.graph import Breach, Permission, Reducer
from vertebra.schemas.places import Places, Unplaced
from vertebra.schemas.record import Authored

Names = tuple[str, ...]
Values = dict[str, JsonValue]


class AuthoredOutput(Authored):
    """A field of the run's output, and the path or `{value: ...}` that it is taken from."""

    field: FieldSpec
    source: JsonValue = None


class AuthoredChannel(Authored):
    field: FieldSpec
    reduce: Reducer = "replace"


class AuthoredBudget(Authored):
    usd: JsonValue = None
    """Dollars, as a number or a text; lowered exactly to micro-dollars."""
    tokens: int | None = None
    on_breach: Breach = "reject"


class AuthoredSpine(Authored):
    principal: str | None = None
    permissions: tuple[Permission, ...] = ()
    tools: Names = ()
    """`*` stands for all tools of the catalogue at the time of compiling."""
    models: Names | None = None
    hosts: Names | None = None
    expires_in: str | None = None
    budget: AuthoredBudget | None = None


class AuthoredModel(Authored):
    provider: str
    model: str
    temperature: float | None = None
    max_output_tokens: int = 2048
    endpoint: str | None = None


class AuthoredRetry(Authored):
    max_attempts: int | None = None
    backoff: str | None = None
    factor: int | None = None
    max: str | None = None


class AuthoredAgent(Authored):
    type: Literal["llm", "agent"]
    role: str = ""
    model: AuthoredModel
    prompt: str
    tools: Names = ()
    max_turns: int | None = None
    retry: AuthoredRetry | None = None
    timeout: str | None = None
    deadline: str | None = None


class AuthoredApproval(Authored):
    never: str | None = None
    when: str | None = None
    assign: Names = ()
    backup: Names = ()
    escalate_after: str | None = None
    remind: Names = ()
    expires_in: str | None = None


class AuthoredRule(Authored):
    when: str
    then: Values


class AuthoredNode(Authored):
    """A node as written; which keys it may have depends on its type."""

    type: str | None = None
    agent: str | None = None
    tool: str | None = None
    input: Values | None = None
    args: Values | None = None
    method: str | None = None
    address: JsonValue = None
    headers: Values | None = None
    body: JsonValue = None
    expect_status: JsonValue = None
    field: str | None = None
    routes: dict[str, str] | None = None
    show: Values | None = None
    form: JsonValue = None
    for_: str | None = Field(default=None, alias="for")
    until: JsonValue = None
    event: str | None = None
    function: str | None = None
    """Of a `router`: `tools/FILE.py:FUNCTION` of the project."""
    optional: bool = False
    rules: tuple[AuthoredRule, ...] | None = None
    default: Values | None = None
    write: Values = {}
    on_error: str | None = None
    retry: AuthoredRetry | None = None
    timeout: str | None = None
    deadline: str | None = None
    max_visits: int | None = None
    approval: AuthoredApproval | None = None
    assign: Names = ()
    backup: Names = ()
    escalate_after: str | None = None
    remind: Names = ()
    expires_in: str | None = None

    @property
    def written(self) -> frozenset[str]:
        """The keys that stand there, as they are spelled there."""
        return frozenset(key.rstrip("_") for key in self.model_fields_set)


class EdgeLine(Authored):
    """One line of `edges`."""

    sources: Names
    targets: Names
    when: str | None = None
    otherwise: bool = False
    parallel: bool = False
    join: str | None = None
    index: int = 0
    """Its position in the list, for complaints."""


class AuthoredGuardrail(Authored):
    id: str
    on: str
    at: Literal["before", "after"] = "before"
    when: str
    action: Breach


class AgentGraph(Authored):
    """A graph as its author wrote it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    graph: str
    version: str
    description: str = ""
    input: dict[str, FieldSpec] = {}
    output: dict[str, AuthoredOutput] = {}
    state: dict[str, AuthoredChannel] = {}
    spine: AuthoredSpine | None = None
    agents: dict[str, AuthoredAgent] = {}
    nodes: dict[str, AuthoredNode]
    edges: tuple[EdgeLine, ...] = ()
    guardrails: tuple[AuthoredGuardrail, ...] = ()
    retry: AuthoredRetry | None = None
    """The default of nodes whose agent says nothing either; so are `timeout` and `deadline`."""
    timeout: str | None = None
    deadline: str | None = None
    on_error: str | None = None
    """Where every node goes that fails and says nothing itself; `compiler.fallback` leaves some out."""
    places: Annotated[Places, SkipValidation] = Field(default=Unplaced("graph"), exclude=True, repr=False)
    """Where each part stands in its file; no part of the graph itself."""


class AuthoredPerson(Authored):
    """A line of people.yaml."""

    name: str
    roles: tuple[str, ...] = ()
    service: bool = False
    """No human: it may start runs, and decides nothing."""


class AuthoredPrice(Authored):
    """A line of prices.yaml, in micro-dollars per million tokens."""

    provider: str
    model: str
    input: NonNegativeInt
    output: NonNegativeInt
    cache_read: NonNegativeInt | None = None
    cache_write: NonNegativeInt | None = None
