"""What Postgres answers to the named statements, over rows in memory: one file per file of `store/sql/`.

A statement is mirrored here and nowhere else, and the contract suite plays each on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vertebra.store.queries import named
from vertebra.testing.answers import audit, client, gate, keeper, ledger, steps, values
from vertebra.testing.rows import Answer

_FILES: Mapping[str, Mapping[str, Answer]] = {
    "audit": audit.ANSWERS,
    "client": client.ANSWERS,
    "gate": gate.ANSWERS,
    "keeper": keeper.ANSWERS,
    "ledger": ledger.ANSWERS,
    "steps": steps.ANSWERS,
    "values": values.ANSWERS,
}


def known() -> Mapping[tuple[str, str], Answer]:
    """Every statement that is answered, by its file and name."""
    return MappingProxyType({(file, name): found[name] for file, found in _FILES.items() for name in found})


def by_text() -> Mapping[str, Answer]:
    """The same by the statement's text, as queries carry it."""
    return MappingProxyType({str(named(file, name)): answer for (file, name), answer in known().items()})
