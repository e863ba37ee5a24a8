"""Paired times: everybody is timed in turn, so that whatever else the machine does falls on all alike."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Sample = Callable[[], Awaitable[float]]
"""One run of one contestant; gives milliseconds."""
WARM_UP = 3
"""Rounds that do not count: connections, caches, prepared statements."""


@dataclass(frozen=True)
class Spread:
    """The median of some figures, with the smallest and the largest."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}-{self.most:.2f})"


@dataclass(frozen=True)
class Times:
    """What each contestant took, round by round."""

    rounds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, rival: str) -> Spread:
        """Of the paired ratios: each round's own."""
        return spread(one / other for one, other in zip(self.rounds[name], self.rounds[rival], strict=True))

    def difference(self, name: str, rival: str) -> Spread:
        """Of the paired differences."""
        return spread(one - other for one, other in zip(self.rounds[name], self.rounds[rival], strict=True))


def spread(values: Iterable[float]) -> Spread:
    """Median, minimum and maximum."""
    figures = list(values)
    return Spread(statistics.median(figures), min(figures), max(figures))


async def interleaved(contestants: Mapping[str, Sample], rounds: int, warm_up: int = WARM_UP) -> Times:
    """Time all contestants once per round: A B C, A B C, .."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(warm_up + rounds):
        for name, sample in contestants.items():
            took = await sample()
            if round_ >= warm_up:
                taken[name].append(took)
    return Times(taken)
