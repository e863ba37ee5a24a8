"""What became of a play, and where that is not what a scenario expects. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vertebra.schemas.canonical import Json
from vertebra.schemas.money import usd
from vertebra.testing.scenario import Bounds, Expected

_ROUNDING = 0.5
"""Dollars are compared as whole micro-dollars."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything of a play that a test may look at. It is the same however often the play is repeated."""

    status: str
    path: tuple[str, ...]
    output: Json
    cost_microusd: int
    audit: Mapping[str, int]
    mails: tuple[Json, ...]
    tools: Mapping[str, int]
    blocked: Mapping[str, str]
    """Node to the type of its error."""
    error: str | None
    notes: tuple[str, ...]
    """What a reader of a failure wants to know: acts that were refused, answers that were missing, errors."""
    spoilt: bool
    """An act was refused, or an answer was missing: then no expectation may count as met."""
    seconds: int
    """How much time passed on the clock of the play."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One expectation that did not come true."""

    what: str
    expected: Json
    got: Json


def differences(expect: Expected, got: Outcome) -> list[Difference]:
    """Every expectation that did not come true, in the order of the file's keys."""
    plain: list[tuple[str, Json, Json]] = [
        ("status", expect.status, got.status),
        ("path", None if expect.path is None else list(expect.path), list(got.path)),
        ("error", expect.error, got.error),
        ("blocked", _json(expect.blocked), _json(got.blocked)),
    ]
    found = [Difference(what, wanted, has) for what, wanted, has in plain if wanted is not None and wanted != has]
    return [*found, *_output(expect, got), *_cost(expect, got), *_counts(expect, got), *_mails(expect, got)]


def _output(expect: Expected, got: Outcome) -> list[Difference]:
    output = got.output if isinstance(got.output, dict) else {}
    wanted = (expect.output or {}).items()
    return [
        Difference(f"output.{name}", value, output.get(name)) for name, value in wanted if value != output.get(name)
    ]


def _cost(expect: Expected, got: Outcome) -> list[Difference]:
    wanted = expect.cost_usd
    if wanted is None:
        return []
    bounds = wanted if isinstance(wanted, Bounds) else Bounds(min=wanted, max=wanted)
    low = bounds.min is not None and got.cost_microusd < bounds.min * 1_000_000 - _ROUNDING
    high = bounds.max is not None and got.cost_microusd > bounds.max * 1_000_000 + _ROUNDING
    if not low and not high:
        return []
    shown: Json = wanted if isinstance(wanted, float) else wanted.model_dump(exclude_none=True)
    return [Difference("cost_usd", shown, usd(got.cost_microusd))]


def _counts(expect: Expected, got: Outcome) -> list[Difference]:
    pairs = [("audit", expect.audit or {}, got.audit), ("tools", expect.tools or {}, got.tools)]
    return [
        Difference(f"{what}.{name}", count, has.get(name, 0))
        for what, wanted, has in pairs
        for name, count in wanted.items()
        if has.get(name, 0) != count
    ]


def _mails(expect: Expected, got: Outcome) -> list[Difference]:
    wanted = expect.mails
    if wanted is None:
        return []
    if len(wanted) != len(got.mails):
        return [Difference("mails", [dict(mail) for mail in wanted], list(got.mails))]
    return [
        Difference(f"mails[{index}].{name}", value, _part(sent, name))
        for index, (mail, sent) in enumerate(zip(wanted, got.mails, strict=True))
        for name, value in mail.items()
        if _part(sent, name) != value
    ]


def _part(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None


def _json(value: Mapping[str, str] | Sequence[str] | None) -> Json:
    return dict(value) if isinstance(value, Mapping) else None
