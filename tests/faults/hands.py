"""What may be done to a run at any moment by whoever may: Temporal's own tools, people, a store in trouble."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from temporalio.service import RPCError

from tests.faults.plant import TICKETS
from tests.stage import Stage
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import StoreError
from vertebra.schemas.graph import CompiledGraph

HEAD = """
graph: NAME
version: 1.0.0
input: {text: {type: string, required: true}}
output: {said: {type: string, from: state.said}}
state: {said: {type: string, default: nothing}}
spine: {principal: svc-support, expires_in: 1h, budget: {usd: 1.00, tokens: 1000000, on_breach: pause}}
agents:
  speaker: {type: llm, model: {provider: scripted, model: small}, prompt: say@1}
nodes:
"""
ONE, TWO, THREE = (f"  {name}: {{agent: speaker, input: {{text: input.text}}}}\n" for name in ("one", "two", "three"))
BROKEN = "  broken: {agent: speaker, input: {text: input.text}, retry: {max_attempts: 1}}\n"
COPY = "  copy: {type: rules, default: {text: input.text}, write: {said: text}}\n"
ASK = "  ask: {type: human, show: {text: input.text}, assign: [support_lead]}\n"
ALSO = ASK.replace("ask", "also")
FIRST = "  first: {type: rules, default: {ok: {value: true}}}\n"
MEETS = FIRST + ONE + THREE + ASK + COPY
MEETS += "edges:\n  - first -> one, three, ask\n  - one, three, ask -> copy: {join: JOIN}\n"
MAY = BROKEN.replace("retry", "optional: true, retry")
BODIES = {
    "line": ONE + THREE + COPY + "edges:\n  - one -> three\n  - three -> copy\n",
    "all": MEETS.replace("JOIN", "all"),
    "any": MEETS.replace("JOIN", "any"),
    "two": MEETS.replace("JOIN", "2"),
    "calls": FIRST + ONE + TWO + THREE + COPY
    + "edges:\n  - first -> one, two, three\n  - one, two, three -> copy: {join: all}\n",
    "ask": ASK + COPY + "edges:\n  - ask -> copy\n",
    "both": FIRST + ASK + ALSO + COPY + "edges:\n  - first -> ask, also\n  - ask, also -> copy: {join: all}\n",
    "hear": "  hear: {type: wait, event: paid}\n" + COPY + "edges:\n  - hear -> copy\n",
    "rest": "  rest: {type: wait, for: 1s}\n" + ONE + COPY + "edges:\n  - rest -> one\n  - one -> copy\n",
    "break": BROKEN + COPY + "edges:\n  - broken -> copy\n",
    "may": MAY + ONE + COPY + "edges:\n  - broken -> one\n  - one -> copy\n",
}  # fmt: skip
GRAPHS = {name: HEAD.replace("NAME", f"chance-{name}") + body for name, body in BODIES.items()}
"""Small graphs, each of another kind."""
BLOCKS = {"break": "broken", "support": "send"}
"""The node that a command about one names; by default `one`."""
WITHIN_S = 3.0
"""When hands are laid on a run, from its start."""
MOST_HANDS = 4
HANDS = (
    *("cancel", "cancel", "look", "look", "look", "abort", "stop", "retry", "skip", "top_up", "event"),
    *("approve", "approve", "deny", "commands at once", "look and cancel", "look and cancel"),
)
"""What is done, by how often; `stop` is the operator's own cancel."""
MOST_LOOKS = 30
"""At once; more than a run takes in one execution."""
MOODS = {"well": 0.68, "late": 0.1, "said late": 0.1, "not written": 0.05, "written, and lost": 0.05, "given up": 0.02}
LATE_S = 0.8
GIVEN_UP_S = 3.0
"""Longer than a step may take: it has written, and the run does not wait for its answer."""
LARGE = 300_000
"""Characters of an input that travels by reference, as does the output."""
ARGUMENTS: dict[str, Json] = {
    "top_up": {"microusd": 1000, "tokens": 1000},
    "event": {"event": "paid", "payload": {}},
}


@dataclass(frozen=True)
class Act:
    """One thing that is done to a run."""

    after_s: float
    hand: str
    looks: int


@dataclass
class Hands:
    """Starts runs and does to each what chance says, at moments that chance says."""

    stage: Stage
    chance: random.Random
    graphs: dict[str, CompiledGraph]
    name: str
    runs: list[str] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """One more run, with what is going to be done to it."""
        chance = self.chance
        kind = chance.choice(sorted(self.graphs))
        text = "x" * (LARGE if chance.random() < 0.2 else 10)
        given = chance.choice(TICKETS) if kind == "support" else {"text": text}
        acts = [_act(chance) for _ in range(chance.randint(0, MOST_HANDS))]
        run = f"{self.name}-{kind}-{len(self.runs)}"
        await self.stage.start(self.graphs[kind], given, run=run)
        self.runs.append(run)
        place = (BLOCKS.get(kind, "one"), 1)
        self._tasks += [asyncio.create_task(self._lay(run, place, act)) for act in acts]

    async def finish(self) -> None:
        """Until nothing more is going to be done. Raises what any hand raised."""
        await asyncio.gather(*self._tasks)

    async def _lay(self, run: str, place: tuple[str, int], act: Act) -> None:
        await asyncio.sleep(act.after_s)
        self.did[act.hand] += 1
        match act.hand:
            case "cancel":
                await self._tell(run, 0, cancel=True)
            case "look":
                await self._tell(run, act.looks, cancel=False)
            case "look and cancel":
                await self._tell(run, act.looks, cancel=True)
            case "approve" | "deny":
                await self._decide(run, act.hand)
            case "commands at once":
                await asyncio.gather(*(self._command(run, verb, place) for verb in ("abort", "skip", "event")))
            case _:
                await self._command(run, "cancel" if act.hand == "stop" else act.hand, place)

    async def _tell(self, run: str, looks: int, *, cancel: bool) -> None:
        """By Temporal's own tools, all together; a run that has ended hears nothing."""
        newest = self.stage.client.get_workflow_handle(run)
        said = [newest.signal("look") for _ in range(looks)] + ([newest.cancel()] if cancel else [])
        for found in await asyncio.gather(*said, return_exceptions=True):
            if isinstance(found, BaseException) and not isinstance(found, RPCError):
                raise found

    async def _decide(self, run: str, verb: str) -> None:
        for row in await self.stage.sql("select id from approvals where run = %(run)s order by id", run=run):
            await self.stage.decide(row["id"], verb)

    async def _command(self, run: str, verb: str, place: tuple[str, int]) -> None:
        if not await self.stage.sql("select 1 from runs where id = %(run)s", run=run):
            return  # not let in yet: nobody can sign anything about it
        node, visit = place if verb in ("retry", "skip") else (None, None)
        await self.stage.command(run, verb, node, visit, arguments=ARGUMENTS.get(verb))


def _act(chance: random.Random) -> Act:
    return Act(chance.uniform(0, WITHIN_S), chance.choice(HANDS), chance.randint(1, MOST_LOOKS))


Step = Callable[..., Awaitable[object]]


def moody(step: Step, chance: random.Random, moods: Counter[str]) -> Step:
    """The step over a store in trouble: now and then it is slow, or fails, before or after it has written."""

    async def tried(*given: object) -> object:
        mood = chance.choices(list(MOODS), list(MOODS.values()))[0]
        moods[mood] += 1
        if mood == "not written":
            raise StoreError("the database cannot be reached")
        if mood == "late":
            await asyncio.sleep(chance.uniform(0, LATE_S))
        found = await step(*given)
        if mood == "written, and lost":
            raise StoreError("the connection was lost")
        if mood == "said late":
            await asyncio.sleep(chance.uniform(0, LATE_S))
        if mood == "given up":
            await asyncio.sleep(GIVEN_UP_S)
        return found

    return tried
