"""Order independence over random graphs: any order of completion ends in the same run."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.shapes import graphs
from tests.unit.engine.world import Choose, Effects, Plain, Rough, World
from vertebra.schemas.graph import CompiledGraph

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def shuffled(seed: int) -> Choose:
    return Random(seed).randrange


@pytest.mark.parametrize("effects", [Plain(), Rough()], ids=["plain", "rough"])
@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(made=graphs(), seed=st.integers(0, 10**6))
def test_any_order_gives_the_same_run(effects: Effects, made: CompiledGraph, seed: int) -> None:
    """First come, last come and shuffled: the same end, outputs, state, calls with values, notes and visits."""
    first = World(made, effects, lambda count: 0).run({"x": 1}).facts()
    last = World(made, effects, lambda count: count - 1).run({"x": 1}).facts()
    mixed = World(made, effects, shuffled(seed)).run({"x": 1}).facts()

    assert first == last == mixed
