"""What runs: a checked, lowered, immutable graph. Its canonical bytes have one digest, which a run pins for good.

Floats and literals of the author are kept as their JSON text, so that the bytes are canonical.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Literal, Self

from vertebra.schemas.canonical import Canonical, Digest, canonical_bytes, digest_of
from vertebra.schemas.record import Recorded

ENGINE = 1
"""The newest revision of the rules of `advance`; a graph names the one that it was published for."""
REST = "*"
"""The route of every value that has none of its own."""
END = "end"
"""The target of a final edge."""

NodeType = Literal["llm", "agent", "tool", "http", "rules", "human", "wait", "router"]
Effect = Literal["pure", "idempotent", "keyed", "compensable", "irreversible"]
REPEATABLE: tuple[Effect, ...] = ("pure", "idempotent", "keyed")
"""Effects that may be tried again without harm, the keyed ones under their own key."""
Permission = Literal["execute_tools", "read_memory", "write_memory", "attach_agent", "persist_data"]
Breach = Literal["reject", "pause", "abort"]
Reducer = Literal["replace", "append", "merge", "sum", "max"]


class Value(Recorded):
    """Where a value comes from: exactly one of a path (`input.x`, `state.x`, `error.x`, `node.field`) or JSON text."""

    path: str | None = None
    json_text: str | None = None
    required: bool = True
    """A required value that is absent blocks its reader by name; an optional one is left out."""


class Condition(Recorded):
    """A CEL expression, compiled once against declared types."""

    source: str
    """The evaluation source: plain maps, telemetry lowered to settled names such as `sum_tokens`."""
    reads: tuple[str, ...] = ()
    """The dotted paths that it may read; absent ones are left out of the facts."""
    telemetry: tuple[str, ...] = ()
    """Names given by the ledger, such as `sum_tokens`; guardrails and policy rules only."""
    text: str
    """What the author wrote, for messages and pages."""


class Channel(Recorded):
    type_json: str
    """The field's type (schemas.fields), as JSON text."""
    reduce: Reducer = "replace"
    default_json: str | None = None


class Budget(Recorded):
    microusd: int | None = None
    tokens: int | None = None
    on_breach: Breach = "reject"


class Spine(Recorded):
    """The security boundary of a run: what its root context may be granted."""

    permissions: tuple[Permission, ...] = ()
    tools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """`provider/model`; by default exactly those that the agents name."""
    hosts: tuple[str, ...] = ()
    """Rules of `policies.hosts`: where requests may go, as far as the operator lets them; by default exactly the hosts
    that the http nodes name."""
    expires_in_s: int | None = None
    """None is an explicit `never`."""
    budget: Budget | None = None


class Model(Recorded):
    provider: str
    model: str
    temperature_text: str | None = None
    max_output_tokens: int = 2048
    endpoint: str | None = None

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


class Agent(Recorded):
    type: Literal["llm", "agent"]
    role: str = ""
    model: Model
    prompt: str
    """`name@version`."""
    prompt_digest: Digest
    tools: tuple[str, ...] = ()
    max_turns: int = 20


class Retry(Recorded):
    max_attempts: int = 3
    backoff_ms: int = 2000
    factor: int = 2
    max_ms: int = 60_000


class Approval(Recorded):
    """Who decides, and when. `never` holds the author's reason for asking nobody."""

    never: str | None = None
    when: Condition | None = None
    """None asks always."""
    assign: tuple[str, ...] = ()
    backup: tuple[str, ...] = ()
    escalate_after_s: int | None = None
    remind_s: tuple[int, ...] = ()
    expires_in_s: int = 7 * 86400


class Rule(Recorded):
    when: Condition
    then: dict[str, Value]


class Router(Recorded):
    """How a `router` node chooses: by the value `field` of the node, or by a function that is given all its values."""

    routes: dict[str, str] = {}
    """Value, as text, to node."""
    function: str | None = None
    source: Digest | None = None
    """The digest of the text of the function's file."""


class HttpCall(Recorded):
    """What an `http` node always sends; what a run gives stands in the node's `values`."""

    method: str
    address: str | None = None
    """A template in which `{0}` stands for the value `address.0`; None = the whole address is the value `address`."""
    headers: dict[str, str] = {}
    """Literals; one may end in a reference `secret://...`, which is looked up when the request is sent."""
    expect: tuple[str, ...] = ("2xx",)
    """Statuses that are no failure: `204`, or `4xx` for a hundred of them."""


class Pause(Recorded):
    """What a `wait` node waits for: a while, a time, or an event; with an event `for_s` is how long at most."""

    for_s: int | None = None
    until: Value | None = None
    event: str | None = None


class Node(Recorded):
    id: str
    type: NodeType
    agent: str | None = None
    tool: str | None = None
    effect: Effect | None = None
    """The effect class of a `tool` node's tool, or of an `http` node's request."""
    values: dict[str, Value] = {}
    """`input` of `llm` and `agent`, `args` of `tool`, `show` of `human`; of `http` the parts of its request."""
    write: dict[str, Value] = {}
    """Channel to a path inside the node's own result (`path` without the node's name) or a literal; on success only."""
    on_error: str | None = None
    retry: Retry = Retry()
    timeout_s: int = 30
    deadline_s: int = 3600
    max_visits: int | None = None
    approval: Approval | None = None
    rules: tuple[Rule, ...] = ()
    default: dict[str, Value] | None = None
    http: HttpCall | None = None
    router: Router | None = None
    form_json: str | None = None
    """The schema of a `human` node's answer or of an event's payload, as JSON text of schemas.fields."""
    pause: Pause | None = None
    """Of a `wait` node."""
    optional: bool = False
    """A failure skips the node instead of blocking it."""
    facts: tuple[str, ...] = ()
    """The dotted paths that approval and guardrail expressions on this node read; sent with each call."""


class Edge(Recorded):
    to: tuple[str, ...]
    when: Condition | None = None
    otherwise: bool = False


class Route(Recorded):
    """What comes after a node. `all`: a plain edge or a fork; `first`: the first true edge; `every`: all true ones."""

    take: Literal["all", "first", "every", "named"]
    """All of them; the first true one; every true one; the one that the node's own result names."""
    edges: tuple[Edge, ...]


class Join(Recorded):
    """Where branches meet."""

    sources: tuple[str, ...]
    need: Literal["all"] | int = "all"
    """How many branches it waits for: all that come, or this many; `any` is 1. The others are cancelled."""
    fork: str | None
    """The node whose fork made the branches: the sources' nearest common dominator; None if they are alternatives."""
    upstream: tuple[str, ...]
    """Every node from which this join can be reached, by normal or `on_error` edges, and not through `fork` again.

    A live branch at one of these is waited for. A way that leads round a cycle through the fork does not count: the
    branches of such a cycle would wait for each other.
    """


class Guardrail(Recorded):
    id: str
    on: str
    """A node id or `*`."""
    at: Literal["before", "after"]
    when: Condition
    action: Breach


class CompiledGraph(Recorded):
    """A published graph as a run pins it."""

    v: int = 1
    engine: int = ENGINE
    name: str
    version: str
    principal: str | None = None
    input_json: str
    """The fields of the input (schemas.fields), as JSON text."""
    output_json: str
    output: dict[str, Value] = {}
    state: dict[str, Channel] = {}
    spine: Spine = Spine()
    agents: dict[str, Agent] = {}
    nodes: dict[str, Node]
    start: str
    routes: dict[str, Route]
    joins: dict[str, Join] = {}
    guardrails: tuple[Guardrail, ...] = ()
    prompts: dict[str, Digest] = {}
    tools: dict[str, Digest] = {}
    """Tool name to its pin, the digest of its definition."""
    prices: Digest | None = None
    """The digest of the price rows that this graph's models use."""

    @cached_property
    def canonical(self) -> bytes:
        """The bytes that are stored, hashed and given to every run.

        What is at its default is left out: a field that a later release adds changes no digest, and a run carries less.
        So a default, once released, can never change.
        """
        plain: Canonical = {**self.model_dump(mode="json", exclude_defaults=True), "v": self.v, "engine": self.engine}
        return canonical_bytes(plain)

    @cached_property
    def digest(self) -> Digest:
        return digest_of(self.canonical)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy has bytes of its own, not those that were remembered."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("canonical", "digest"):
            copied.__dict__.pop(name, None)
        return copied


@lru_cache(maxsize=256)
def parse_graph(text: str) -> CompiledGraph:
    """The graph whose canonical bytes are `text`; equal texts share one immutable value."""
    graph = CompiledGraph.model_validate_json(text)
    # its digest stays that of these bytes, whatever this release would leave out of them, or does not know
    graph.__dict__["canonical"] = text.encode()
    return graph
