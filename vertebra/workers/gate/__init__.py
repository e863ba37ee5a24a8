"""The gate: every effect crosses these elements, in this order, in one transaction before and one after the call."""

from __future__ import annotations

from vertebra.workers.gate import approval, audit, budget, context, guardrail, journal, permission
from vertebra.workers.gate.element import Element

ELEMENTS: tuple[Element, ...] = (
    context.ELEMENT,
    journal.ELEMENT,
    permission.ELEMENT,
    approval.ELEMENT,
    guardrail.ELEMENT,
    budget.ELEMENT,
    audit.ELEMENT,
)
"""The order of judging. Budget is read first of all, since its reservation locks the run's row; audit only writes."""
