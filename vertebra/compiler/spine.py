"""Lowers the spine and the agents: what a run may do, with which tools and models, for how much and how long."""

from __future__ import annotations

from vertebra.compiler.catalogue import Catalogue
from vertebra.compiler.durations import DURATION, MONEY, microusd, seconds
from vertebra.compiler.reach import hosts_of
from vertebra.policies.fields import nearest
from vertebra.policies.hosts import HOST_RULE, is_rule
from vertebra.schemas.authored import AgentGraph, AuthoredAgent, AuthoredBudget, AuthoredModel, AuthoredSpine
from vertebra.schemas.canonical import json_text
from vertebra.schemas.graph import Agent, Budget, Model, Spine
from vertebra.schemas.ids import ENDPOINT, NODE_ID
from vertebra.schemas.places import Complain, Path

_ALL = "*"
_MOST = 2**53
_ADD = "add its price to prices.yaml"


def lower_spine(graph: AgentGraph, catalogue: Catalogue, complain: Complain) -> Spine:
    """The spine. Models absent = exactly those that the agents name."""
    spine = graph.spine
    named = {_named(agent.model.provider, agent.model.model, catalogue) for agent in graph.agents.values()}
    if spine is None:
        return Spine(models=tuple(sorted(named)), hosts=hosts_of(graph))
    allowed = named if spine.models is None else {_named(*_parts(name), catalogue) for name in spine.models}
    for name in sorted(named - (allowed or named)):
        do = "add it there, or leave models out to allow exactly those that the agents name"
        complain(("spine", "models"), f"an agent uses model {name!r}, which the spine does not allow", do)
    if spine.principal is not None and catalogue.services is not None and spine.principal not in catalogue.services:
        do = nearest(spine.principal, catalogue.services) or "add it to people.yaml with service: true"
        complain(("spine", "principal"), f"{spine.principal!r} is no service principal", do)
    return Spine(
        permissions=tuple(sorted(set(spine.permissions))),
        tools=_tools(spine, catalogue, complain),
        models=tuple(sorted(allowed)),
        hosts=_hosts(graph, complain),
        expires_in_s=_expiry(spine, complain),
        budget=None if spine.budget is None else _budget(spine.budget, complain),
    )


def provider_id(word: str, catalogue: Catalogue) -> str:
    """The id that a graph's word for a provider stands for; an unknown word is left as it is."""
    return (catalogue.providers or {}).get(word, word)


def _parts(name: str) -> tuple[str, str]:
    provider, _, model = name.partition("/")
    return provider, model


def _named(provider: str, model: str, catalogue: Catalogue) -> str:
    return f"{provider_id(provider, catalogue)}/{model}" if model else provider


def _tools(spine: AuthoredSpine, catalogue: Catalogue, complain: Complain) -> tuple[str, ...]:
    names: set[str] = set()
    for index, name in enumerate(spine.tools):
        if name == _ALL:
            names.update(catalogue.tools)
        elif name not in catalogue.tools:
            do = nearest(name, catalogue.tools) or "list them with: vertebra tools list"
            complain(("spine", "tools", index), f"the spine grants unknown tool {name!r}", do)
        else:
            names.add(name)
    return tuple(sorted(names))


def _hosts(graph: AgentGraph, complain: Complain) -> tuple[str, ...]:
    for index, rule in enumerate((graph.spine.hosts if graph.spine is not None else None) or ()):
        if not is_rule(rule):
            complain(("spine", "hosts", index), f"{rule!r} is no host", HOST_RULE)
    return hosts_of(graph)


def _expiry(spine: AuthoredSpine, complain: Complain) -> int | None:
    text = spine.expires_in
    if text == "never":
        return None
    found = seconds(text)
    if found is None:
        message = "the spine does not say when its rights expire" if text is None else f"{text!r} is no duration"
        complain(("spine", "expires_in"), message, "write expires_in: 8h, 30d or never" if text is None else DURATION)
    return found


def _budget(budget: AuthoredBudget, complain: Complain) -> Budget:
    micro = None if budget.usd is None else microusd(budget.usd)
    path: Path = ("spine", "budget")
    if budget.usd is not None and micro is None:
        complain((*path, "usd"), f"{json_text(budget.usd)} is no amount of dollars", MONEY)
    if budget.tokens is not None and not 0 <= budget.tokens < _MOST:
        complain((*path, "tokens"), "tokens is a whole number from 0 on")
    if budget.usd is None and budget.tokens is None:
        complain(path, "the budget limits nothing", "add usd: 0.50, tokens: 60000, or both")
    return Budget(microusd=micro, tokens=budget.tokens, on_breach=budget.on_breach)


def lower_agents(graph: AgentGraph, spine: Spine, catalogue: Catalogue, complain: Complain) -> dict[str, Agent]:
    """The agents whose prompt is known; every mistake of the others is complained about too."""
    found = {}
    for name, agent in graph.agents.items():
        path: Path = ("agents", name)
        if not NODE_ID.fullmatch(name):
            complain(path, f"{name!r} is no name of an agent", "use lower-case letters, digits and '_', a letter first")
        check_tools(agent.tools, spine, catalogue, (*path, "tools"), f"agent {name!r}", complain)
        if agent.type == "llm" and (agent.tools or agent.max_turns is not None):
            message = f"agent {name!r} is of type llm, which calls no tools"
            complain(path, message, "write type: agent, or take tools and max_turns away")
        if agent.max_turns is not None and not 1 <= agent.max_turns <= 1000:
            complain((*path, "max_turns"), "max_turns is not between 1 and 1000")
        model = _model(name, agent.model, catalogue, (*path, "model"), complain)
        lowered = _agent(agent, model, catalogue, (*path, "prompt"), f"agent {name!r}", complain)
        if lowered is not None:
            found[name] = lowered
    return found


def _agent(
    agent: AuthoredAgent, model: Model, catalogue: Catalogue, path: Path, who: str, complain: Complain
) -> Agent | None:
    prompt = catalogue.prompts.get(agent.prompt)
    if prompt is None:
        _, _, version = agent.prompt.partition("@")
        if not version.isdigit():
            do = "write NAME@NUMBER; labels such as @production are not in this version"
        else:
            do = nearest(agent.prompt, catalogue.prompts) or "add it to prompts/"
        complain(path, f"{who} cites unknown prompt {agent.prompt!r}", do)
        return None
    turns = {} if agent.max_turns is None else {"max_turns": agent.max_turns}
    return Agent(
        type=agent.type,
        role=agent.role,
        model=model,
        prompt=agent.prompt,
        prompt_digest=prompt.digest,
        tools=tuple(sorted(set(agent.tools))),
        **turns,
    )


def _model(name: str, model: AuthoredModel, catalogue: Catalogue, path: Path, complain: Complain) -> Model:
    lowered = Model(
        provider=provider_id(model.provider, catalogue),
        model=model.model,
        temperature_text=None if model.temperature is None else json_text(model.temperature),
        max_output_tokens=model.max_output_tokens,
        endpoint=None if model.endpoint is None else model.endpoint.rstrip("/"),
    )
    if catalogue.providers is not None and model.provider not in catalogue.providers:
        do = nearest(model.provider, catalogue.providers)
        complain((*path, "provider"), f"agent {name!r} names unknown provider {model.provider!r}", do)
    else:
        _check_price(name, lowered, catalogue, path, complain)
    if model.endpoint is not None and not ENDPOINT.fullmatch(model.endpoint):
        # not quoted: a password may stand in it
        do = "write https://HOST/v1, without user, query or fragment"
        complain((*path, "endpoint"), f"the endpoint of agent {name!r} is no plain http(s) address", do)
    if model.max_output_tokens < 1:
        complain((*path, "max_output_tokens"), "max_output_tokens is less than 1")
    if model.temperature is not None and not 0 <= model.temperature <= 2:
        complain((*path, "temperature"), "temperature is not between 0 and 2")
    return lowered


def _check_price(name: str, model: Model, catalogue: Catalogue, path: Path, complain: Complain) -> None:
    why = catalogue.unpriced.get(name)
    if why is not None:
        complain(path, f"agent {name!r} uses model {model.name!r}, which has no price: {why}", _ADD)
    elif catalogue.prices.find(model.provider, model.model) is None:
        near = nearest(model.name, (f"{price.provider}/{price.model}" for price in catalogue.prices.prices))
        do = f"{near} If not, {_ADD}" if near and near.endswith("?") else _ADD
        complain(path, f"agent {name!r} uses model {model.name!r}, which no price list knows", do)


def check_tools(
    names: tuple[str, ...], spine: Spine, catalogue: Catalogue, path: Path, who: str, complain: Complain
) -> None:
    """Every tool that somebody uses is known, inside the spine, and covered by its permissions."""
    for name in names:
        tool = catalogue.tools.get(name)
        if tool is None:
            do = nearest(name, catalogue.tools) or "list them with: vertebra tools list"
            complain(path, f"{who} uses unknown tool {name!r}", do)
        elif name not in spine.tools:
            complain(path, f"{who} uses tool {name!r}, which the spine does not grant", "add it to spine.tools")
        else:
            for missing in sorted({*tool.permissions, "execute_tools"} - set(spine.permissions)):
                message = f"{who} uses tool {name!r}, which needs the permission {missing!r}"
                complain(path, message, "add it to spine.permissions")
