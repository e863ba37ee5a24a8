"""What people do in a play: each request and each blocked node takes the next act that was written for it.

An act is carried out by the client's own functions: a signed row, checked by whoever acts on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from vertebra.client import approvals, commands
from vertebra.client.approvals import Approval, Verdict
from vertebra.schemas.run import Ask
from vertebra.testing.stage import TESTER, Stage
from vertebra.tools.checks import check_arguments

Decided = Literal["approve", "edit", "deny", "expire"]
NODE_VERBS = ("retry", "skip", "override")
ENDS = ("abort", "cancel")
ANSWERS: Mapping[str, tuple[str, ...]] = {"blocked": NODE_VERBS, "top_up": ("top_up",), "renewal": ("renew",)}
"""What answers each kind of wait, besides decisions."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody says about a request, so long after it was asked. `expire`: nobody says anything, ever."""

    verb: Decided
    by: str | None = None
    """A person, or a role: then the first who holds it. None: the first who may decide."""
    arguments: JsonValue = None
    """Of `edit` what changes; of `approve` the answer to a question."""
    reason: str | None = None
    after_s: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """What an operator says, so long after the run began to wait for it."""

    verb: commands.Verb
    node: str | None = None
    arguments: JsonValue = None
    by: str = TESTER.name
    reason: str | None = None
    after_s: int = 0

    @property
    def event(self) -> str | None:
        """Of `event`: its name, which stands in the arguments beside the payload."""
        name = self.arguments.get("event") if isinstance(self.arguments, dict) else None
        return name if isinstance(name, str) else None


@dataclass(slots=True)
class Acts:
    """The acts that are left: decisions by node, commands in their order."""

    decisions: dict[str, deque[Decision]] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    @classmethod
    def of(cls, decisions: Mapping[str, Sequence[Decision]], orders: Sequence[Command]) -> Acts:
        return cls({node: deque(given) for node, given in decisions.items()}, list(orders))

    def answer(self, ask: Ask, event: str | None = None) -> Decision | Command | None:
        """The next act for this wait, or for the event that it waits for; None: nobody does anything about it."""
        if ask.kind == "approval":
            left = self.decisions.get(ask.node)
            return left.popleft() if left else None
        if ask.kind == "event":
            return self._take([one for one in self.commands if one.verb == "event" and one.event == event])
        verbs = ANSWERS[ask.kind]
        fitting = [one for one in self.commands if one.verb in verbs and one.node in (None, ask.node)]
        return self._take(fitting)

    def ending(self) -> Command | None:
        """An abort or cancel, when nothing else is left to be done."""
        return self._take([one for one in self.commands if one.verb in ENDS])

    def left(self) -> list[str]:
        """The acts that nobody waited for."""
        decisions = [f"{one.verb} of {node}" for node, given in self.decisions.items() for one in given]
        return decisions + [" ".join(filter(None, (one.verb, one.node))) for one in self.commands]

    def _take(self, fitting: Sequence[Command]) -> Command | None:
        if fitting:
            self.commands.remove(fitting[0])
        return fitting[0] if fitting else None


async def decide(stage: Stage, approval_id: str, decision: Decision) -> None:
    """Write the signed decision. Raises PolicyError, BadArguments, NotFound: nothing is written then."""
    assert decision.verb != "expire"
    connection = stage.connection()
    found = await approvals.approval(connection, approval_id)
    arguments = decision.arguments
    if decision.verb == "edit":
        arguments = _edited(stage, found, arguments)
    verdict = Verdict(decision.verb, found.asked.digest, arguments, decision.reason)
    await approvals.decide(connection, stage.signer(decision.by or _first(found)), found, verdict)


async def command(stage: Stage, run: str, given: Command) -> None:
    """Write the signed command. Raises PolicyError, NotFound: nothing is written then."""
    order = commands.Order(given.verb, given.node, None, given.arguments, given.reason)
    await commands.command(stage.connection(), stage.signer(given.by), run, [order])


def _edited(stage: Stage, found: Approval, changes: JsonValue) -> JsonValue:
    """The final arguments with these changed, as the tool takes them."""
    shown = found.arguments if isinstance(found.arguments, dict) else {}
    arguments = {**shown, **(changes if isinstance(changes, dict) else {})}
    if found.tool is not None:
        check_arguments(stage.specs[found.tool], arguments)
    return arguments


def _first(found: Approval) -> str:
    """The role that is asked: its first holder decides."""
    return (*found.asked.assign, TESTER.name)[0]
