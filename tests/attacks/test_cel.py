"""Conditions written to take a worker down cost themselves only."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from vertebra.boundary.cel_child import CelAnswer, CelChild, CelRequest
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import ChildLost

pytestmark = pytest.mark.attack


@pytest.fixture
async def child() -> AsyncIterator[CelChild]:
    async with CelChild() as running:
        yield running


DEEP: Json = []
for _ in range(20_000):
    DEEP = [DEEP]

DOUBLING = "[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, [0,1,2,3,4,5,6,7,8,9].map(c, s+s+s+s+s+s+s+s)))"
RUNAWAY: tuple[str, dict[str, Json]] = (
    "xs.map(a, s.matches('(x+x+)+y')).size() > 0",
    {"xs": list(range(5000)), "s": "x" * 400_000},
)
HOSTILE: list[tuple[str, dict[str, Json]]] = [
    RUNAWAY,
    ("xs.all(a, xs.all(b, xs.all(c, xs.all(d, a + b + c + d >= 0))))", {"xs": list(range(400))}),
    ("xs.map(a, xs.map(b, xs.map(c, xs.map(d, a)))).size() > 0", {"xs": list(range(400))}),
    (f"({DOUBLING}).size() > 0 && ({DOUBLING}) == ({DOUBLING})", {"s": "x" * 300_000}),
    ("xs.map(a, s + s).size() > 0", {"xs": list(range(5000)), "s": "x" * 400_000}),
    ("s.matches('(a+)+$')", {"s": "a" * 200_000 + "!"}),
    ("s.matches('(((a{1,100}){1,100}){1,100}){1,100}')", {"s": "a" * 1000}),
    ("x == x", {"x": DEEP}),
    ("(" * 5000 + "true" + ")" * 5000, {}),
    ("[" * 5000 + "]" * 5000, {}),
    ("!" * 100_000 + "true", {}),
    ("true" + " && true" * 20_000, {}),
    ("s == s", {"s": "x" * 2_000_000}),
    ("s == s", {"s": "\ud800"}),
    ("s == s", {"s": "\0"}),
    ("s == 1.0", {"s": float("nan")}),
    ("\ud800", {}),
    ("a\nb", {}),
    ("", {}),
]


async def evaluated(child: CelChild, requests: list[CelRequest]) -> tuple[list[CelAnswer], float]:
    """The answers, and in how many seconds. Where the machine is to blame for none, once more, as a run does."""
    for again in (True, True, False):
        start = time.monotonic()
        try:
            return await child.evaluate(requests), time.monotonic() - start
        except ChildLost:
            if not again:
                raise
    raise AssertionError


@pytest.mark.parametrize(("source", "facts"), HOSTILE)
async def test_a_hostile_expression_costs_itself_only(child: CelChild, source: str, facts: dict[str, Json]) -> None:
    """Whatever an expression does, it ends soon, has a boolean or an error, and those around it have their values."""
    requests = [CelRequest("1 == 1", {}), CelRequest(source, facts), CelRequest("1 == 2", {})]

    (first, hostile, last), took_s = await evaluated(child, requests)

    assert 30 > took_s  # 0.5 s of processor time; the rest is a busy machine and a new child
    assert (CelAnswer(value=True), CelAnswer(value=False)) == (first, last)
    assert hostile.error is not None or isinstance(hostile.value, bool)


async def test_a_runaway_is_told_its_limit(child: CelChild) -> None:
    """An expression that goes on ends by the processor time, with that reason."""
    source, facts = RUNAWAY

    (found,), _ = await evaluated(child, [CelRequest(source, facts)])

    assert "it takes longer than 0.45 s" == found.error
