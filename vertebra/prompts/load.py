"""Reads an authored prompt file into a pinned Prompt, telling every mistake with its line."""

from __future__ import annotations

import re
from collections.abc import Collection

from vertebra.policies.declared import read_fields
from vertebra.policies.fields import nearest
from vertebra.prompts.translate import translate
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.fields import Field, fields_text
from vertebra.schemas.places import ComplaintList, Path, Places
from vertebra.schemas.prompt import Prompt

PROMPT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
KEYS = ("prompt", "version", "description", "system", "template", "input", "output", "tests")
TEST_KEYS = ("name", "input", "expect", "reply")
EXPECT_KEYS = ("contains", "not_contains", "equals", "matches", "max_tokens", "reply")


def load_prompt(value: Json, places: Places) -> Prompt:
    """The prompt that a file's value declares. Raises Complaints with all mistakes, each at its place."""
    complain = ComplaintList(places)
    if not isinstance(value, dict):
        complain((), "a prompt file is a mapping", f"its keys are {', '.join(KEYS)}")
        complain.raise_any()
    assert isinstance(value, dict)
    _known(value, KEYS, (), complain)
    before = len(complain.found)
    inputs = read_fields(value.get("input"), ("input",), complain)
    inputs_are_sound = len(complain.found) == before
    outputs = read_fields(value.get("output"), ("output",), complain)
    prompt = Prompt(
        name=_name(value, complain),
        version=_version(value, complain),
        description=_text(value, "description", complain),
        system=_text(value, "system", complain),
        template=_template(value, complain),
        input_json=fields_text(inputs),
        output_json=fields_text(outputs),
        tests_json=json_text(_tests(value, complain)),
    )
    if inputs_are_sound:  # else the names of broken inputs would look undeclared
        _check_texts(prompt, inputs, complain)
    complain.raise_any()
    return prompt


def _known(raw: dict[str, Json], keys: Collection[str], path: Path, complain: ComplaintList) -> None:
    for key in raw:
        if key not in keys:
            complain((*path, key), f"unknown key {key!r}", nearest(key, keys))


def _name(raw: dict[str, Json], complain: ComplaintList) -> str:
    name = raw.get("prompt")
    if isinstance(name, str) and PROMPT_NAME.fullmatch(name):
        return name
    complain(("prompt",), "a prompt needs a name", "write prompt: NAME, small letters, digits, '-' and '_'")
    return ""


def _version(raw: dict[str, Json], complain: ComplaintList) -> int:
    version = raw.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version >= 1:
        return version
    complain(("version",), "a prompt's version is a whole number from 1 on", "write version: 1")
    return 0


def _text(raw: dict[str, Json], key: str, complain: ComplaintList) -> str:
    text = raw.get(key)
    if text is None or isinstance(text, str):
        return text or ""
    complain((key,), f"{key} must be a text", "put it in quotes")
    return ""


def _template(raw: dict[str, Json], complain: ComplaintList) -> str:
    if not raw.get("template"):
        complain(("template",), "a prompt needs a template", "write template: and the text for the model")
        return ""
    return _text(raw, "template", complain)


def _check_texts(prompt: Prompt, inputs: dict[str, Field], complain: ComplaintList) -> None:
    for key, text in (("system", prompt.system), ("template", prompt.template)):

        def report(line: int, message: str, do: str | None, key: str = key) -> None:
            complain.in_text((key,), line, f"prompt {prompt.name!r}: {message}", do)

        translate(text, inputs, report)


def _tests(raw: dict[str, Json], complain: ComplaintList) -> list[Json]:
    tests = raw.get("tests")
    if tests is None:
        return []
    if not isinstance(tests, list):
        complain(("tests",), "tests must be a list", "write: - {name: plain, input: {...}, expect: {...}}")
        return []
    for index, test in enumerate(tests):
        _test(test, ("tests", index), complain)
    return tests


def _test(test: Json, path: Path, complain: ComplaintList) -> None:
    if not isinstance(test, dict) or not isinstance(test.get("name"), str):
        complain(path, "a test is a mapping with a name", "write: {name: plain, input: {...}, expect: {...}}")
        return
    _known(test, TEST_KEYS, path, complain)
    for key, keys in (("input", None), ("expect", EXPECT_KEYS)):
        part = test.get(key, {})
        if not isinstance(part, dict):
            complain((*path, key), f"{key} must be a mapping")
        elif keys is not None:
            _known(part, keys, (*path, key), complain)
