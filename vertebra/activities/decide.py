"""Evaluate an author's conditions, all ready ones together, in the guarded child; the answers are recorded."""

from __future__ import annotations

from vertebra.activities.world import World
from vertebra.boundary.cel_child import CelAnswer, CelRequest
from vertebra.schemas.run import DecideAnswer, DecideInput, DecideOutput, DecideRequest

WITHIN_S = 1.2
"""For all conditions of one step, once one has run away; the step has 2 s, and would else be tried for ever."""


async def decide(given: DecideInput, world: World) -> DecideOutput:
    """True, false, or no value with the reason: an error is neither."""
    answers = await world.cel.evaluate([_request(request) for request in given.requests], WITHIN_S)
    return DecideOutput(
        answers=tuple(_answer(request, answer) for request, answer in zip(given.requests, answers, strict=True))
    )


def _request(request: DecideRequest) -> CelRequest:
    return CelRequest(request.source, request.facts, tuple(request.reads))


def _answer(request: DecideRequest, answer: CelAnswer) -> DecideAnswer:
    if answer.error is None and isinstance(answer.value, bool):
        return DecideAnswer(key=request.key, value=answer.value)
    return DecideAnswer(key=request.key, error=answer.error or "the condition gives neither true nor false")
