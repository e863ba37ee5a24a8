"""Lowers retry, timeout, deadline and the cap on visits: the node's own words, else its agent's, else the graph's."""

from __future__ import annotations

from typing import Literal

from vertebra.compiler.durations import DURATION, milliseconds, seconds
from vertebra.compiler.site import Site
from vertebra.schemas.authored import AgentGraph, AuthoredAgent, AuthoredNode, AuthoredRetry
from vertebra.schemas.graph import Node, Retry
from vertebra.schemas.places import Path

MODEL_TIMEOUT_S = 120
MOST_ATTEMPTS = 100
_DEADLINE_S = 3600


def with_limits(node: Node, site: Site) -> Node:
    """The node with its attempts, times and visits."""
    visits = site.node.max_visits
    if visits is not None and not 1 <= visits <= 10_000:
        site.tell("max_visits", f"max_visits of node {site.id!r} is not between 1 and 10000")
    timeout = _time(site, "timeout") or _default_timeout_s(site)
    deadline = _time(site, "deadline") or max(_DEADLINE_S, timeout)
    if timeout > deadline:
        message = f"the timeout of node {site.id!r} is longer than its deadline"
        site.tell("timeout", message, "the deadline covers all attempts")
    update = {
        "retry": _retry(site, node.effect == "irreversible"),
        "timeout_s": timeout,
        "deadline_s": deadline,
        "max_visits": visits,
    }
    return node.model_copy(update=update)


def _default_timeout_s(site: Site) -> int:
    if site.agent is not None:
        return MODEL_TIMEOUT_S
    return site.tool.timeout_s if site.tool is not None else Node.model_fields["timeout_s"].default


def _sources(site: Site) -> list[tuple[Path, AuthoredNode | AuthoredAgent | AgentGraph]]:
    found: list[tuple[Path, AuthoredNode | AuthoredAgent | AgentGraph]] = [(site.path, site.node)]
    if site.agent is not None and site.node.agent is not None:
        found.append((("agents", site.node.agent), site.agent))
    return [*found, ((), site.graph)]


def _time(site: Site, key: Literal["timeout", "deadline"]) -> int | None:
    for path, source in _sources(site):
        text = source.timeout if key == "timeout" else source.deadline
        if text is not None:
            found = seconds(text)
            if found is None:
                site.complain((*path, key), f"{key} {text!r} is no duration of whole seconds", DURATION)
            return found
    return None


def _retry(site: Site, once: bool) -> Retry:
    path, found = next(
        ((path, retry) for path, source in _sources(site) if (retry := source.retry) is not None),
        (site.path, AuthoredRetry()),
    )
    path = (*path, "retry")
    default = Retry()
    attempts = found.max_attempts if found.max_attempts is not None else 1 if once else default.max_attempts
    if not 1 <= attempts <= MOST_ATTEMPTS:
        site.complain((*path, "max_attempts"), f"max_attempts is not between 1 and {MOST_ATTEMPTS}")
    elif once and attempts > 1:
        what = f"tool {site.node.tool!r}" if site.node.tool is not None else "request"
        message = f"node {site.id!r} would try the irreversible {what} {attempts} times"
        site.complain((*path, "max_attempts"), message, "write max_attempts: 1, or leave it out")
    factor = default.factor if found.factor is None else found.factor
    if not 1 <= factor <= 10:
        site.complain((*path, "factor"), "factor is not between 1 and 10")
    backoff = _pause(site, found.backoff, (*path, "backoff"), default.backoff_ms)
    longest = _pause(site, found.max, (*path, "max"), max(default.max_ms, backoff))
    if longest < backoff:
        site.complain((*path, "max"), "the longest pause is shorter than the first", "raise max, or lower backoff")
    return Retry(max_attempts=attempts, backoff_ms=backoff, factor=factor, max_ms=longest)


def _pause(site: Site, text: str | None, path: Path, default: int) -> int:
    if text is None:
        return default
    found = milliseconds(text)
    if found is None:
        site.complain(path, f"{text!r} is no duration", DURATION)
    return found or default
