"""Narrowing: the only way in which a context comes from another. Pure; never wider than the parent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from vertebra.schemas.context import Grant
from vertebra.schemas.errors import PermissionDenied

Name = TypeVar("Name", bound=str)


def narrow(parent: Grant, wanted: Grant) -> Grant:
    """What a child that wants `wanted` gets: what both have. Raises PermissionDenied below the last level."""
    if parent.depth <= 0:
        raise PermissionDenied("no further context may be derived at this depth")
    shares = [share for share in (parent.budget_microusd, wanted.budget_microusd) if share is not None]
    return Grant(
        permissions=_both(parent.permissions, wanted.permissions),
        tools=_both(parent.tools, wanted.tools),
        models=_both(parent.models, wanted.models),
        memory=_both(parent.memory, wanted.memory),
        budget_microusd=min(shares) if shares else None,
        depth=min(parent.depth - 1, wanted.depth),
    )


def _both(parent: Iterable[Name], wanted: Iterable[Name]) -> tuple[Name, ...]:
    allowed = frozenset(wanted)
    return tuple(sorted(name for name in parent if name in allowed))
