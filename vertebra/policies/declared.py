"""Reads the field declarations that an author wrote, telling every mistake with its place."""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

from vertebra.policies.fields import inspect_field, matches, nearest
from vertebra.schemas.canonical import Json
from vertebra.schemas.fields import FIELD_NAME, Field, FieldType, Validator, ValidatorType
from vertebra.schemas.places import Complain, Path

TYPES: tuple[FieldType, ...] = get_args(FieldType)
VALIDATORS: tuple[ValidatorType, ...] = get_args(ValidatorType)
KEYS = ("type", "required", "default", "description", "validators")
OWN_KEYS = {"enum": ("values",), "list": ("item_type",), "dict": ("fields",)}
FITS: dict[ValidatorType, tuple[FieldType, ...]] = {
    "min_length": ("string", "list"),
    "max_length": ("string", "list"),
    "range": ("integer", "float"),
    "regex": ("string", "enum"),
}


def read_fields(raw: Json, path: Path, complain: Complain, extra: Collection[str] = ()) -> dict[str, Field]:
    """The fields that the authored value at `path` declares; `fields:` around them is optional.

    `extra` names keys of a field that the caller reads itself (`reduce`, `from`). Fields with mistakes are left out.
    """
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        complain(path, "must be a mapping of field names to types", "write: name: {type: string}")
        return {}
    if _is_wrapper(raw):
        return read_fields(raw["fields"], (*path, "fields"), complain, extra)
    found = {}
    for name, value in raw.items():
        if not FIELD_NAME.fullmatch(name):
            complain((*path, name), f"{name!r} is no field name", "use ASCII letters, digits and '_', a letter first")
        elif (field := read_field(value, (*path, name), complain, extra)) is not None:
            found[name] = field
    return found


def read_field(raw: Json, path: Path, complain: Complain, extra: Collection[str] = ()) -> Field | None:
    """The field that the authored value at `path` declares, or None after complaining."""
    complaints: list[Path] = []

    def note(place: Path, message: str, do: str | None = None, /) -> None:
        complaints.append(place)
        complain(place, message, do)

    if not isinstance(raw, dict):
        note(path, "a field's type is a mapping", "write: {type: string}")
        return None
    kind = _kind(raw, path, note)
    if kind is None:
        return None
    _known_keys(raw, kind, path, note, extra)
    field = Field(
        type=kind,
        required=_boolean(raw, "required", path, note),
        default=raw.get("default"),
        description=_text(raw, "description", path, note),
        values=_values(raw, path, note) if kind == "enum" else (),
        item_type=_item_type(raw, path, note) if kind == "list" else None,
        fields=_nested(raw, path, note) if kind == "dict" else None,
        validators=_validators(raw, kind, path, note),
    )
    if field.default is not None and not complaints:
        for problem in inspect_field(field, field.default):
            note((*path, "default"), f"the default breaks its own type: {problem}")
    return None if complaints else field


def _is_wrapper(raw: dict[str, Json]) -> bool:
    inner = raw.get("fields")
    return list(raw) == ["fields"] and isinstance(inner, dict) and not isinstance(inner.get("type"), str)


def _kind(raw: dict[str, Json], path: Path, note: Complain) -> FieldType | None:
    kind = raw.get("type")
    for known in TYPES:
        if kind == known:
            return known
    if kind is None:
        note(path, "the field has no type", f"add type: one of {', '.join(TYPES)}")
    else:
        note((*path, "type"), f"unknown type {kind!r}", nearest(str(kind), TYPES))
    return None


def _known_keys(raw: dict[str, Json], kind: FieldType, path: Path, note: Complain, extra: Collection[str]) -> None:
    known = (*KEYS, *OWN_KEYS.get(kind, ()), *extra)
    for key in raw:
        if key not in known:
            note((*path, key), f"a field of type {kind} has no key {key!r}", nearest(key, known))


def _boolean(raw: dict[str, Json], key: str, path: Path, note: Complain) -> bool:
    value = raw.get(key, False)
    if isinstance(value, bool):
        return value
    note((*path, key), f"{key} must be true or false")
    return False


def _text(raw: dict[str, Json], key: str, path: Path, note: Complain) -> str | None:
    value = raw.get(key)
    if value is None or isinstance(value, str):
        return value
    note((*path, key), f"{key} must be a text", "put it in quotes")
    return None


def _values(raw: dict[str, Json], path: Path, note: Complain) -> tuple[str, ...]:
    values = raw.get("values")
    if not isinstance(values, list) or not values:
        note(path, "an enum needs its values", "add values: [first, second]")
        return ()
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(values) or len(set(texts)) != len(texts):
        note((*path, "values"), "the values of an enum are different texts", "put numbers, true and false in quotes")
    return texts


def _item_type(raw: dict[str, Json], path: Path, note: Complain) -> Field | None:
    item = raw.get("item_type")
    if item is None:
        return None
    if isinstance(item, str):
        item = {"type": item}
    return read_field(item, (*path, "item_type"), note)


def _nested(raw: dict[str, Json], path: Path, note: Complain) -> dict[str, Field] | None:
    return None if raw.get("fields") is None else read_fields(raw["fields"], (*path, "fields"), note)


def _validators(raw: dict[str, Json], kind: FieldType, path: Path, note: Complain) -> tuple[Validator, ...]:
    rules = raw.get("validators", [])
    if not isinstance(rules, list):
        note((*path, "validators"), "validators must be a list", "write: [{type: max_length, value: 100}]")
        return ()
    read = (_validator(rule, kind, (*path, "validators", index), note) for index, rule in enumerate(rules))
    return tuple(rule for rule in read if rule is not None)


def _validator(raw: Json, kind: FieldType, path: Path, note: Complain) -> Validator | None:
    if not isinstance(raw, dict) or "type" not in raw:
        note(path, "a validator is a mapping with type and value", "write: {type: max_length, value: 100}")
        return None
    for key in raw:
        if key not in ("type", "value", "message"):
            note((*path, key), f"a validator has no key {key!r}", nearest(key, ("type", "value", "message")))
    rule = next((known for known in VALIDATORS if known == raw["type"]), None)
    if rule is None:
        note((*path, "type"), f"unknown validator {raw['type']!r}", nearest(str(raw["type"]), VALIDATORS))
        return None
    if kind not in FITS[rule]:
        note(path, f"{rule} does not fit a field of type {kind}", f"it fits: {', '.join(FITS[rule])}")
        return None
    if (fault := _limit_fault(rule, raw.get("value"))) is not None:
        note((*path, "value") if "value" in raw else path, fault)
        return None
    return Validator(type=rule, value=raw["value"], message=_text(raw, "message", path, note))


def _limit_fault(rule: ValidatorType, value: Json) -> str | None:
    if rule == "regex":
        return _pattern_fault(value)
    if rule == "range":
        pair = value if isinstance(value, list) else []
        numbers = [item for item in pair if isinstance(item, int | float) and not isinstance(item, bool)]
        good = len(pair) == len(numbers) == 2 and numbers[0] <= numbers[1]
        return None if good else "the value of range is [low, high]"
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return None if good else f"the value of {rule} is a whole number from 0 on"


def _pattern_fault(value: Json) -> str | None:
    if not isinstance(value, str) or len(value) > 1000:
        return "the value of regex is a text of at most 1000 characters"
    try:
        matches(value, "")
    except ValueError:
        return "the regular expression cannot be used (look-around and back-references are not offered)"
    return None
