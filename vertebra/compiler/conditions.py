"""Compiles the CEL conditions of edges, rules, approvals and guardrails against the declared types."""

from __future__ import annotations

from dataclasses import dataclass, field

from vertebra.boundary.cel_check import (
    TELEMETRY,
    CheckedCondition,
    ConditionComplaint,
    Declared,
    check_condition,
    lower_telemetry,
)
from vertebra.boundary.cel_text import path_uses
from vertebra.compiler.presence import Facts
from vertebra.compiler.scope import Scope
from vertebra.compiler.types import ERROR
from vertebra.schemas.fields import Field
from vertebra.schemas.graph import Condition
from vertebra.schemas.places import Complain, Path

CALL: dict[str, Field | None] = {"tool": Field(type="string"), "args": Field(type="dict")}
"""What the approval of an agent's tool call sees besides."""
_ERRORS: dict[str, Field | None] = {f"error.{name}": slot.field for name, slot in ERROR.items()}
_NEVER = Condition(source="false", text="false")
"""Stands for a condition that was complained about."""


@dataclass(frozen=True)
class Conditions:
    """The checker of one graph."""

    scope: Scope
    complain: Complain
    _declared: dict[str, Field | None] = field(default_factory=dict)

    def compile(self, text: str, path: Path, *, sees_error: bool = False, sees_call: bool = False) -> Condition:
        """A condition over input, state and results."""
        declared = self._all() | (_ERRORS if sees_error else {}) | (CALL if sees_call else {})
        checked = self._check(text, text, declared, path)
        return _NEVER if checked is None else Condition(source=checked.source, reads=checked.reads, text=text)

    def compile_with_telemetry(self, text: str, path: Path) -> Condition:
        """A guardrail's condition: it may also read sums over the run's telemetry."""
        lowered = lower_telemetry(text)
        if isinstance(lowered, ConditionComplaint):
            self._tell(lowered, text, path)
            return _NEVER
        checked = self._check(lowered.source, text, {**self._all(), **TELEMETRY}, path)
        if checked is None:
            return _NEVER
        reads = tuple(name for name in checked.reads if name not in TELEMETRY)
        telemetry = tuple(name for name in checked.reads if name in TELEMETRY)
        return Condition(source=checked.source, reads=reads, telemetry=telemetry, text=text)

    def check_present(self, condition: Condition, present: Facts, path: Path, where: str) -> None:
        """Complain about what a condition reads without `has()` although some way leaves it out."""
        guarded = {self.scope.needs(use.dotted) for use in path_uses(condition.text) if use.has is not None}
        for read in condition.reads:
            needs = self.scope.needs(read)
            if needs is not None and needs not in present and needs not in guarded:
                do = f"write: has({read}) && ..., or lead every way through it"
                self.complain(path, f"the condition reads {read!r}, which some way {where} leaves out", do)

    def _all(self) -> dict[str, Field | None]:
        if not self._declared:
            self._declared.update(self.scope.declared())
        return self._declared

    def _check(self, source: str, text: str, declared: Declared, path: Path) -> CheckedCondition | None:
        checked = check_condition(source, declared)
        if isinstance(checked, CheckedCondition):
            return checked
        self._tell(checked, text, path)
        return None

    def _tell(self, found: ConditionComplaint, text: str, path: Path) -> None:
        near = f", near {found.near!r}" if found.near and found.near not in found.message else ""
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        self.complain(path, f"condition {shown!r}: {found.message}{near}", found.do)
