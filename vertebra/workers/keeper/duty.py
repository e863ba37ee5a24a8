"""What a duty is: one pass over the rows that are due, by whichever worker comes first, again after its interval."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client

from vertebra.activities.world import World

BATCH = 50
"""Rows of one pass; a full batch is followed by the next at once."""
RPC_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Times:
    """How often each duty looks, and how long it lets things be."""

    wake_s: float = 0.5
    resume_s: float = 0.5
    reminders_s: float = 5.0
    expiry_s: float = 2.0
    unseen_s: float = 5.0
    orphans_s: float = 30.0
    administration_s: float = 1.0
    spans_s: float = 5.0
    gauges_s: float = 15.0
    untouched_s: float = 60.0
    """An open run that nothing touched for this long is asked about."""
    lease_s: float = 15.0
    """How long one try of a resume may take before another worker may try it."""
    patience: float = 2.0
    """An attempt is asked about after this many times its node's timeout."""


@dataclass(frozen=True, slots=True)
class Office:
    """What every duty works with."""

    world: World
    client: Client
    times: Times


@dataclass(frozen=True, slots=True)
class Duty:
    """One background duty. `do` gives the number of rows that it took up."""

    name: str
    do: Callable[[Office], Awaitable[int]]
    every: Callable[[Times], float]
    batch: int = BATCH
    """Rows of a full pass."""
