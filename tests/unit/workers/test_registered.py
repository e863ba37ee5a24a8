"""Which activities a worker offers, and which of them the gate lets pass by."""

from __future__ import annotations

from typing import cast

from temporalio import activity

from vertebra.activities.effects import KINDS, bodies
from vertebra.activities.steps import Steps
from vertebra.activities.world import World
from vertebra.workers.interceptor import UNGATED

NO_WORLD = cast("World", None)  # nothing is called


def named(functions: list[object]) -> list[str]:
    definitions = [activity._Definition.must_from_callable(function) for function in functions]  # type: ignore[arg-type]  # any callable
    return sorted(definition.name or "" for definition in definitions)


def test_only_the_recorded_steps_pass_by_the_gate() -> None:
    """The steps that a worker offers are the list that the gate lets pass; everything else is an effect."""
    assert sorted(UNGATED) == named(list(Steps(NO_WORLD).all))


def test_every_effect_is_a_kind_that_the_gate_knows() -> None:
    """No activity type exists beside the kinds of effect."""
    assert sorted(KINDS) == named(list(bodies(NO_WORLD)))
    assert not set(KINDS) & set(UNGATED)
