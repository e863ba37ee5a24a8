"""A context: one agent's rights on one run's spine. A child's rights are its parent's, narrowed."""

from __future__ import annotations

from vertebra.schemas.graph import Permission
from vertebra.schemas.record import Recorded

MAX_DEPTH = 8


class Grant(Recorded):
    """What the holder may do. An empty list means none, never all."""

    v: int = 1
    permissions: tuple[Permission, ...] = ()
    tools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """`provider/model`."""
    memory: tuple[str, ...] = ()
    budget_microusd: int | None = None
    depth: int = MAX_DEPTH
    """How many further contexts may be derived below this one."""
