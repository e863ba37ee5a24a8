"""The search attributes of a run, written only when they change: each write is an event in its history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

TENANT = SearchAttributeKey.for_keyword("VtTenant")
GRAPH = SearchAttributeKey.for_keyword("VtGraph")
STATE = SearchAttributeKey.for_keyword("VtState")
REVIEWERS = SearchAttributeKey.for_keyword_list("VtReviewers")
DUE = SearchAttributeKey.for_datetime("VtDue")


Update = SearchAttributeUpdate[str] | SearchAttributeUpdate[Sequence[str]] | SearchAttributeUpdate[datetime]


class Visible:
    """What the Web UI and `list` queries show of this run. Starts from what the client set at start."""

    def __init__(self, tenant: str) -> None:
        known = workflow.info().typed_search_attributes
        self._tenant, self._graph = known.get(TENANT), known.get(GRAPH)
        self.state = known.get(STATE) or ""
        self._reviewers = tuple(known.get(REVIEWERS) or ())
        due = known.get(DUE)
        self._due = None if due is None else int(due.timestamp())
        self._wanted_tenant = tenant

    def show(self, state: str | None, reviewers: Sequence[str] | None, due: int | None) -> None:
        """Write what differs; None for state or reviewers leaves them."""
        updates: list[Update] = []
        if self._tenant != self._wanted_tenant:
            updates.append(TENANT.value_set(self._wanted_tenant))
            self._tenant = self._wanted_tenant
        if self._graph != workflow.info().workflow_type:
            self._graph = workflow.info().workflow_type
            updates.append(GRAPH.value_set(self._graph))
        if state is not None and state != self.state:
            self.state = state
            updates.append(STATE.value_set(state))
        if reviewers is not None and tuple(reviewers) != self._reviewers:
            self._reviewers = tuple(reviewers)
            updates.append(REVIEWERS.value_set(self._reviewers))
        if reviewers is not None and due != self._due:
            self._due = due
            updates.append(DUE.value_unset() if due is None else DUE.value_set(datetime.fromtimestamp(due, UTC)))
        if updates:
            workflow.upsert_search_attributes(updates)
