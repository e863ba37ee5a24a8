"""Requests without a network: a scenario says by node what a host answers; what may be sent is checked as ever."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from vertebra.activities.http import KEY_HEADER
from vertebra.boundary.egress import DEFAULTS, Ask, Egress, Fetched, Reach
from vertebra.policies.secret_refs import reference_in
from vertebra.schemas.errors import HttpFailed
from vertebra.schemas.graph import CompiledGraph
from vertebra.testing.tools import Workbench

STATUS = 200
PARTS = ("status", "headers", "body")
"""What a scenario's `result` of an `http` node may say."""


class FakeEgress(Egress):
    """Answers the requests of one node. It opens nothing."""

    def __init__(self, reach: Reach, bench: Workbench, node: str) -> None:
        self.reach, self.limits = reach, DEFAULTS
        self._bench, self._node = bench, node

    async def send(self, ask: Ask, *, within: Iterable[str], total_s: float | None = None) -> Fetched:
        """What the scenario says next of this node. Raises HttpFailed."""
        key = ask.headers.get(KEY_HEADER, f"{ask.method} {ask.address}")
        answer = self._bench.take(self._node, {"method": ask.method, "address": ask.address}, key)
        if answer is None:
            raise HttpFailed(f"the scenario gives no answer of {self._node!r}", kind="status", do="add it under tools:")
        if answer.lost:
            raise HttpFailed("the connection was cut, as the scenario says", kind="network")
        if answer.error is not None:
            raise HttpFailed(answer.error, kind="connect")
        return _fetched(ask.address, answer.result)


def sendable(graph: CompiledGraph) -> Reach:
    """Every host that the graph names: which of them an operator allows, a scenario does not know."""
    return Reach(hosts=graph.spine.hosts, inside=graph.spine.hosts)


def secrets_of(graph: CompiledGraph) -> tuple[str, ...]:
    """Every secret that the graph sends, to every host that it names."""
    return tuple(f"{reference}@{host}" for reference in _references(graph) for host in graph.spine.hosts)


def _references(graph: CompiledGraph) -> Iterator[str]:
    for node in graph.nodes.values():
        for value in node.http.headers.values() if node.http is not None else ():
            reference = reference_in(value)
            if reference is not None:
                yield reference


def _fetched(address: str, said: JsonValue) -> Fetched:
    parts = said if isinstance(said, dict) else {}
    status, body, given = parts.get("status", STATUS), parts.get("body"), parts.get("headers")
    headers = {name.lower(): str(value) for name, value in (given if isinstance(given, dict) else {}).items()}
    headers.setdefault("content-type", "text/plain" if isinstance(body, str) else "application/json")
    return Fetched(status if isinstance(status, int) else STATUS, headers, _bytes(body), address)


def _bytes(body: JsonValue) -> bytes:
    if body is None:
        return b""
    return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()


def wrong_part(said: Mapping[str, JsonValue]) -> str | None:
    """The first part of an answer that is none, or holds what it cannot."""
    odd = next((name for name in said if name not in PARTS), None)
    status = said.get("status", STATUS)
    is_status = isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599
    is_headers = isinstance(said.get("headers", {}), dict)
    return odd or (None if is_status else "status") or (None if is_headers else "headers")
