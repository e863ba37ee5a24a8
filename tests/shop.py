"""A host of the tests' own that runs may send requests to, as `shop.example`, and a graph that asks it once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from tests.servers import Asked, reply, serving
from vertebra.activities.world import World
from vertebra.boundary.egress import Egress, Reach
from vertebra.schemas.canonical import Json

CANARY = "sk-canary-2206"
KEY = "secret://env/SHOP_KEY"
READS = "method: GET"
KEYED = "method: POST, headers: {Idempotency-Key: {value: call}}"
ONCE = "method: POST, approval: {never: a test}"
ASKS = """
graph: NAME
version: 1.0.0
input: {order: {type: string, required: true}}
output: {total: {type: integer, from: ask.body.total}}
spine: {principal: svc-support, permissions: [execute_tools], expires_in: 1h}
nodes:
  ask: {type: http, address: "http://HOST/silent/NAME", REQUEST, on_error: never}
  never: {type: rules, default: {}}
edges:
  - ask -> end
  - never -> end
"""
ANSWER: Json = {"status": 200, "headers": {}, "body": {"total": 41}}
"""What the node `ask` gives, for a person to say."""


def asking(name: str, host: str, request: str) -> str:
    """A graph of this name that sends one request to `/silent`: READS, KEYED or ONCE."""
    return ASKS.replace("NAME", name).replace("HOST", host).replace("REQUEST", request)


@dataclass
class Shop:
    """What it was asked, and the client that reaches it."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    broken: int = 0
    """How many of the next requests to `/broken` fail."""
    silent: int = 0
    """How many of the next requests to `/silent` are heard and never answered."""
    out: Egress | None = None

    @property
    def host(self) -> str:
        return f"shop.example:{self.port}"

    def keys_of(self, graph: str) -> list[str]:
        """The idempotency keys of what a graph made by `asking` has sent; empty for a request without."""
        return [one.headers.get("idempotency-key", "") for one in self.asked if one.path == f"/silent/{graph}"]

    def answer(self, asked: Asked) -> bytes:
        if asked.path.startswith("/broken") and self.broken:
            self.broken -= 1
            return reply(503)
        if asked.path.startswith("/silent") and self.silent:
            self.silent -= 1
            return b""
        body = json.dumps({"total": 41, "echo": asked.headers.get("authorization", "")}).encode()
        return reply(body=body, headers={"content-type": "application/json"})

    def reachable(self, world: World) -> World:
        """The world with the shop in reach, and nothing else; it has the shop's key."""
        rules = (f"{KEY}@{self.host}",)

        def secret(name: str) -> str | None:
            return CANARY if name == KEY else world.secret(name)

        return replace(world, egress=self.out, egress_secrets=rules, secret=secret)


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    """A shop on a free port of loopback."""
    shop = Shop()

    async def home(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with serving(shop.answer) as heard:
        shop.port, shop.asked = heard.port, heard.asked
        async with Egress(Reach(hosts=(shop.host,), inside=(shop.host,)), resolve=home) as shop.out:
            yield shop
