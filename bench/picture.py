"""A picture of the ratios: a bar from least to most, a mark at the median, a line at the goal. Plain SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import Spread

WIDTH, ROW, LEFT, RIGHT, TOP = 760, 34, 250, 90, 56
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.small{font-size:11px;fill:#57606a}"
    ".range{fill:#b6c8e6}.median{fill:#1f4e9c}"
    ".goal{stroke:#b42318;stroke-width:2}.one{stroke:#8c959f;stroke-dasharray:3 3}"
)


@dataclass(frozen=True)
class Bar:
    """One ratio, with the goal that it must not pass; `at_least` where it must reach it."""

    label: str
    ratio: Spread
    goal: float | None
    at_least: bool = False

    @property
    def is_reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio.median >= self.goal if self.at_least else self.ratio.median <= self.goal


def picture(bars: Sequence[Bar], measured_on: str) -> str:
    """The whole picture as SVG text."""
    most = max([2.0, *(bar.ratio.most for bar in bars), *(bar.goal or 0 for bar in bars)])
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + ROW * len(bars) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>vertebra beside the same by hand</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="12" y="22">vertebra with its whole gate, to the same by hand without one (1 = as much)</text>',
        f'<text x="12" y="40" class="small">{measured_on}; dark: median, light: least to most, red: goal</text>',
        f'<line class="one" x1="{LEFT + scale:.1f}" x2="{LEFT + scale:.1f}" y1="{TOP - 4}" y2="{height - 24}"/>',
    ]
    for index, bar in enumerate(bars):
        lines += _row(bar, TOP + ROW * index, scale)
    return "\n".join([*lines, "</svg>\n"])


def _row(bar: Bar, y: float, scale: float) -> list[str]:
    def at(value: float) -> float:
        return LEFT + value * scale

    least, median, most = bar.ratio.least, bar.ratio.median, bar.ratio.most
    said = {None: "", True: "  reached", False: "  missed"}[bar.is_reached]
    found = [
        f'<text x="12" y="{y + 17}">{bar.label}</text>',
        f'<rect class="range" x="{at(least):.1f}" y="{y + 6}" width="{max(2, at(most) - at(least)):.1f}" height="14"/>',
        f'<rect class="median" x="{at(median) - 2:.1f}" y="{y + 4}" width="4" height="18"/>',
        f'<text x="{WIDTH - RIGHT + 8}" y="{y + 17}">{median:.2f}<tspan class="small">{said}</tspan></text>',
    ]
    if bar.goal is not None:
        place = at(bar.goal)
        found.append(f'<line class="goal" x1="{place:.1f}" x2="{place:.1f}" y1="{y + 2}" y2="{y + 24}"/>')
    return found
