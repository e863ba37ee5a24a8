"""`vertebra test`: play the scenarios of a project, offline."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Annotated

import structlog
import typer

from vertebra.boundary.cel_child import CelChild
from vertebra.cli.desk import open_desk
from vertebra.cli.endings import FAILED
from vertebra.cli.options import AsJson
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import NotFound
from vertebra.schemas.money import usd
from vertebra.testing import Result, Scenario, read_scenarios, run_scenario

app = typer.Typer()


@app.command("test", epilog="Examples: vertebra test; vertebra test --scenario angry_customer")
def scenarios(
    scenario: Annotated[str | None, typer.Option("--scenario", "-s", metavar="NAME", help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Play the scenarios in tests/ with scripted models, fake tools and a clock that jumps. Needs no service.

    Standard output is the same every time; how long each one took is told on standard error.
    """
    desk = open_desk(as_json=as_json)
    found = read_scenarios(desk.settings.project, scenario)
    if not found:
        raise NotFound("this project has no scenario", do="put one into tests/NAME.yaml")
    # the keeper's reminders are lines of a log that a play has no use for
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    results = asyncio.run(_played(found, desk.out.say))
    failed = sum(not result.ok for result in results)
    text = "\n".join(_shown(result) for result in results)
    many = f"{len(results)} scenario{'' if len(results) == 1 else 's'}"
    summary = f"{many}, {failed} failed" if failed else f"{many} passed"
    desk.out.give([_plain(result) for result in results], f"{text}\n{summary}")
    if failed:
        raise typer.Exit(FAILED)


async def _played(scenarios: Sequence[Scenario], say: Callable[[str], None]) -> list[Result]:
    results: list[Result] = []
    async with CelChild() as cel:
        for scenario in scenarios:
            began = time.monotonic()
            results.append(await run_scenario(scenario, cel))
            say(f"{scenario.name}: {time.monotonic() - began:.2f} s")
    return results


def _shown(result: Result) -> str:
    outcome, scenario = result.outcome, result.scenario
    mark = "passed" if result.ok else "FAILED"
    lines = [f"{mark}  {scenario.name}  {outcome.status}, {usd(outcome.cost_microusd)}"]
    for one in result.differences:
        place = scenario.places.get(one.what.partition(".")[0].partition("[")[0], scenario.file)
        lines.append(f"  {place}: {one.what}: expected {_text(one.expected)}, got {_text(one.got)}")
    if not result.ok and not outcome.spoilt:
        lines += [f"  note: {note}" for note in outcome.notes]
    return "\n".join(lines)


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(result: Result) -> Json:
    outcome = result.outcome
    return {
        "scenario": result.scenario.name,
        "file": result.scenario.file,
        "graph": result.scenario.compiled.graph.name,
        "ok": result.ok,
        "status": outcome.status,
        "path": list(outcome.path),
        "output": outcome.output,
        "cost_microusd": outcome.cost_microusd,
        "audit": dict(outcome.audit),
        "mails": list(outcome.mails),
        "tools": dict(outcome.tools),
        "blocked": dict(outcome.blocked),
        "error": outcome.error,
        "notes": list(outcome.notes),
        "differences": [{"what": one.what, "expected": one.expected, "got": one.got} for one in result.differences],
    }
