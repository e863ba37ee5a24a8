"""Says in an author's words what is wrong with the shape of a scenario: one complaint a place."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vertebra.compiler.explain import WANTED, keys_at, path_in
from vertebra.policies.fields import nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.places import Complain, Path, dotted


def tell(error: ValidationError, raw: Json, kind: type[BaseModel], complain: Complain, above: Path) -> None:
    """Turn the refusal of `raw`, which stands at `above` in its file, into complaints."""
    found: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False, include_context=True):
        found.setdefault(path_in(detail, raw), []).append(detail)
    for path, details in found.items():
        # of a value that may be several things, the mistake inside of it says more than what else it might have been
        if not any(other[: len(path)] == path != other for other in found):
            _tell(path, details, kind, complain, above)


def _tell(path: Path, details: list[ErrorDetails], kind: type[BaseModel], complain: Complain, above: Path) -> None:
    at, types = (*above, *path), [detail["type"] for detail in details]
    if "extra_forbidden" in types:
        key = str(path[-1])
        complain(at, f"there is no key {key!r} here", nearest(key, keys_at(kind, path[:-1])))
    elif "missing" in types:
        complain(at[:-1], f"{str(path[-1])!r} is missing")
    else:
        complain(at, f"{repr(dotted(at)) if at else 'the scenario'} must be {' or '.join(map(_wanted, details))}")


def _wanted(detail: ErrorDetails) -> str:
    if detail["type"] == "literal_error":
        return str(detail["ctx"]["expected"])
    return WANTED.get(detail["type"], "another value").removeprefix("must be ")
