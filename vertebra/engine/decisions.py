"""Conditions: asked for together in one command, answered by key, read in file order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from vertebra.engine.state import Branch
from vertebra.engine.values import nested_facts
from vertebra.engine.working import Work, place
from vertebra.schemas.call import CallError
from vertebra.schemas.graph import Condition
from vertebra.schemas.run import DecideAnswer, DecideRequest

Answers = Mapping[str, DecideAnswer]


def ask(work: Work, branch: Branch, stage: Literal["deciding", "routing"], conditions: Sequence[Condition]) -> None:
    """Have conditions evaluated over the values that this branch sees."""
    work.put(replace(branch, stage=stage))
    work.asked[branch.id] = tuple(
        DecideRequest.model_construct(
            key=_key(branch, index),
            source=condition.source,
            facts=nested_facts(work, branch, condition.reads),
            reads=condition.reads,
        )
        for index, condition in enumerate(conditions)
    )


def first_true(branch: Branch, conditions: Sequence[Condition], answers: Answers) -> int | CallError | None:
    """The index of the first true condition, None if none is. One that failed before a true one is an error."""
    for index, condition in enumerate(conditions):
        value = _value(branch, index, condition, answers)
        if value is True:
            return index
        if isinstance(value, CallError):
            return value
    return None


def all_true(branch: Branch, conditions: Sequence[Condition], answers: Answers) -> list[int] | CallError:
    """The indices of all true conditions; any that failed is an error."""
    found: list[int] = []
    for index, condition in enumerate(conditions):
        value = _value(branch, index, condition, answers)
        if isinstance(value, CallError):
            return value
        if value:
            found.append(index)
    return found


def _value(branch: Branch, index: int, condition: Condition, answers: Answers) -> bool | CallError:
    answer = answers.get(_key(branch, index))
    if answer is not None and answer.value is not None:
        return answer.value
    why = "no answer" if answer is None else answer.error or "neither true nor false"
    return CallError(
        type="ConditionError",
        message=f"condition {condition.text!r} of node {branch.at!r}: {why}",
        node=branch.at,
        visit=branch.visit,
        do="retry once the values are there, or skip the node to take its plain or else edge",
    )


def _key(branch: Branch, index: int) -> str:
    return f"{place(branch)}:{index}"
