"""Where a graph's requests may go: what its spine says, else exactly the hosts that its http nodes write out."""

from __future__ import annotations

from vertebra.policies.hosts import target_of
from vertebra.schemas.authored import AgentGraph


def hosts_of(graph: AgentGraph) -> tuple[str, ...]:
    """Rules of `policies.hosts`, sorted."""
    if graph.spine is not None and graph.spine.hosts is not None:
        return tuple(sorted(set(graph.spine.hosts)))
    found: set[str] = set()
    for node in graph.nodes.values():
        raw = node.address
        written = raw.get("value") if isinstance(raw, dict) else raw
        target = target_of(written) if isinstance(written, str) else None
        if target is not None:
            found.add(str(target))
    return tuple(sorted(found))
