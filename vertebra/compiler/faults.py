"""Collects every mistake of a graph with its place, so that an author sees all of them at once."""

from __future__ import annotations

import re

from vertebra.schemas.errors import Complaints, GraphError
from vertebra.schemas.places import ComplaintList

MOST = 200
"""More complaints than this are cut: one broken line may cause many."""
_LINE = re.compile(r":(\d+)")


class Faults(ComplaintList):
    """The mistakes of one graph: each told once, however many checks meet it, in the order of the file."""

    def raise_any(self) -> None:
        """Raise Complaints if anything was found."""
        if not self.found:
            return
        errors = sorted({str(error): error for error in self.found}.values(), key=_order)
        more = len(errors) - MOST
        if more > 0:
            errors = [*errors[:MOST], GraphError(f"{more} more mistakes are not shown", do="mend these first")]
        raise Complaints(errors)


def _order(error: GraphError) -> tuple[str, int]:
    at = error.at or ""
    line = _LINE.search(at)
    return (at[: line.start()], int(line.group(1))) if line else (at, 0)
