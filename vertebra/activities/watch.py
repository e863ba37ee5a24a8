"""Who is told, after the commit, what was committed. By default nobody; a worker that serves figures counts.

Replay runs no activity and commits nothing, so it tells nothing. Words here are names that authors gave and kinds that
this code names: no id of a run, no text of a user, so that they can be labels.
"""

from __future__ import annotations

from vertebra.schemas.run import RunEnd


class Watch:
    """Told of everything that a worker committed. Each method may be called from any task; none may wait."""

    def settled(self, kind: str, agent: str, status: str, *, duration_ms: int, tokens: int, microusd: int) -> None:
        """An attempt ended: `done`, `failed`, `again`, `lost` or `late`. No agent is ''."""

    def refused(self, kind: str, by: str, reason: str) -> None:
        """The gate let a call not through: which element, and the kind of hold or error."""

    def ended(self, graph: str, end: RunEnd, seconds: float) -> None:
        """A run ended, so long after it was started."""

    def sent(self, kind: str) -> None:
        """A message left for a run (`wake`) or for people (`approval_reminder`, `approval_escalated`)."""

    def received(self, kind: str, seconds: float) -> None:
        """A run looked for the first time at a `decision`, `command` or `event`, so long after it was recorded."""

    def trip(self, transaction: str, seconds: float) -> None:
        """A round trip to the database came back, or failed, after so long."""

    def duty(self, name: str, *, ok: bool) -> None:
        """The keeper made a pass of one duty."""


SILENT = Watch()
