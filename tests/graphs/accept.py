"""Makes what the broken graphs give now the expected: `python -m tests.graphs.accept`, and then read the diff."""

from __future__ import annotations

from tests.graphs.catalogue import GRAPHS, graph_catalogue
from vertebra.compiler import compile_text
from vertebra.schemas.errors import VertebraError


def accept() -> None:
    for path in sorted((GRAPHS / "broken").glob("*.yaml")):
        try:
            compile_text(path.read_bytes(), path.name, graph_catalogue())
        except VertebraError as error:
            path.with_suffix(".txt").write_text(f"{error}\n")
        else:
            raise SystemExit(f"{path.name} compiles")


if __name__ == "__main__":
    accept()
