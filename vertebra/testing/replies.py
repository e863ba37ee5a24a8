"""A scenario's replies, in order of visits, as the entries of a reply file."""

from __future__ import annotations

from pydantic import ValidationError

from vertebra.providers.scripted import Entry
from vertebra.schemas.canonical import Json
from vertebra.schemas.places import Complain
from vertebra.schemas.places import Path as Keys
from vertebra.schemas.prompt import Prompt

OPENS = ("reply", "tool_calls", "fail")
"""What tells an entry of a reply file from an output that is written as it is."""


def entries_of(items: Json, prompt: Prompt, path: Keys, complain: Complain) -> list[Json]:
    """One item per visit: the output itself, an entry, or `{turns: [...]}` with one of these per turn of an agent."""
    found: list[Json] = []
    for index, item in enumerate(items if isinstance(items, list) else [items]):
        place = (*path, index) if isinstance(items, list) else path
        turns = item.get("turns") if isinstance(item, dict) else None
        if isinstance(turns, list) and isinstance(item, dict) and len(item) == 1:
            for number, turn in enumerate(turns, 1):
                found.append(_entry(turn, prompt, {"visit": index + 1, "turn": number}, (*place, "turns", number - 1)))
                _check(found[-1], (*place, "turns", number - 1), complain)
        else:
            found.append(_entry(item, prompt, {"visit": index + 1}, place))
            _check(found[-1], place, complain)
    return found


def _entry(item: Json, prompt: Prompt, where: dict[str, Json], path: Keys) -> Json:
    if isinstance(item, dict) and any(key in item for key in OPENS) and not set(item) <= set(prompt.output):
        return {**item, **where}
    return {"reply": item, **where}


def _check(entry: Json, path: Keys, complain: Complain) -> None:
    try:
        Entry.model_validate(entry)
    except ValidationError as problem:
        for error in problem.errors(include_url=False, include_input=False):
            complain((*path, *error["loc"]), f"{'.'.join(map(str, error['loc']))}: {error['msg']}")
