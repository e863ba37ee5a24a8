"""A prompt file becomes a pinned prompt, or tells all of its mistakes with their lines."""

from __future__ import annotations

import pytest

from vertebra.boundary.strict_yaml import read_yaml
from vertebra.prompts.load import load_prompt
from vertebra.prompts.render import render
from vertebra.schemas.canonical import digest_of
from vertebra.schemas.errors import Complaints
from vertebra.schemas.prompt import Prompt

FILE = """\
prompt: classify
version: 1
description: Sort one support message
system: You sort customer messages. Answer in JSON only.
template: |
  {{#if customer.tier == "gold"}}Priority customer.{{/if}}
  Message: {{ticket}}
  {{#each history}}{{@index}}. {{this}}
  {{/each}}
input:
  fields: {ticket: {type: string, required: true}, history: {type: list, item_type: string, default: []},
           customer: {type: dict, fields: {tier: {type: string}}}}
output:
  fields:
    priority:
      {type: enum, required: true, values: [critical, high, medium, low],
       validators: [{type: regex, value: "^(critical|high|medium|low)$"}]}
    requirements:
      {type: list, item_type: string, required: true,
       validators: [{type: min_length, value: 1, message: "Name at least one requirement"}]}
tests:
  - {name: plain, input: {ticket: "Wrong invoice", customer: {tier: basic}}, expect: {contains: ["Wrong invoice"]}}
"""


def load(text: str) -> Prompt:
    read = read_yaml(text, "prompts/classify.yaml")
    return load_prompt(read.value, read.marks)


def complaints(text: str) -> list[str]:
    with pytest.raises(Complaints) as caught:
        load(text)
    return [str(complaint) for complaint in caught.value.complaints]


def test_the_documented_file_loads_and_renders() -> None:
    """The example of the documentation gives this text, byte for byte."""
    prompt = load(FILE)

    rendered = render(prompt, {"ticket": "Wrong invoice", "customer": {"tier": "gold"}, "history": ["a"]})

    assert "classify@1" == prompt.ref
    assert "You sort customer messages. Answer in JSON only." == rendered.system
    assert "Priority customer.\nMessage: Wrong invoice\n0. a\n\n" == rendered.user


def test_the_digest_is_of_the_stored_bytes() -> None:
    """What is stored gives the same prompt back, and any edit is another digest."""
    prompt = load(FILE)

    assert prompt == Prompt.model_validate_json(prompt.canonical)
    assert digest_of(prompt.canonical) == prompt.digest
    assert load(FILE.replace("Answer in", "Reply in")).digest != prompt.digest
    assert load(FILE.replace("required: true", "required: false")).digest != prompt.digest


def test_every_mistake_is_told_with_its_line() -> None:
    """Unknown keys, types, names and wrong values, all at once."""
    found = complaints(
        FILE.replace("description:", "descripton:")
        .replace("version: 1", "version: one")
        .replace("{{ticket}}", "{{tickt}}")
        .replace("type: enum", "type: enumm")
        .replace("expect: {contains", "expect: {contain")
        .replace("customer.tier ==", "customer.teir ==")
    )

    assert [
        "prompts/classify.yaml:3: unknown key 'descripton'; did you mean 'description'?",
        "prompts/classify.yaml:16: unknown type 'enumm'; did you mean 'enum'?",
        "prompts/classify.yaml:2: a prompt's version is a whole number from 1 on; write version: 1",
        "prompts/classify.yaml:22: unknown key 'contain'; did you mean 'contains'?",
        "prompts/classify.yaml:6: prompt 'classify': undeclared name 'customer.teir': no field 'teir';"
        " did you mean 'tier'?",
        "prompts/classify.yaml:7: prompt 'classify': undeclared name 'tickt'; did you mean 'ticket'?",
    ] == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- a", "prompts/classify.yaml:1: a prompt file is a mapping"),
        ("prompt: Big Name\nversion: 1\ntemplate: x", "prompts/classify.yaml:1: a prompt needs a name"),
        ("version: 1\ntemplate: x", "a prompt needs a name"),
        ("prompt: a\ntemplate: x", "a prompt's version is a whole number"),
        ("prompt: a\nversion: true\ntemplate: x", "a prompt's version is a whole number"),
        ("prompt: a\nversion: 1", "a prompt needs a template"),
        ("prompt: a\nversion: 1\ntemplate: 5", "prompts/classify.yaml:3: template must be a text"),
        ("prompt: a\nversion: 1\ntemplate: [x]", "template must be a text"),
        ("prompt: a\nversion: 1\ntemplate: x\nsystem: {a: b}", "prompts/classify.yaml:4: system must be a text"),
        ("prompt: a\nversion: 1\ntemplate: x\ninput: [a]", "prompts/classify.yaml:4: must be a mapping of field names"),
        ("prompt: a\nversion: 1\ntemplate: x\ntests: {a: b}", "tests must be a list"),
        ("prompt: a\nversion: 1\ntemplate: x\ntests: [a]", "a test is a mapping with a name"),
        ("prompt: a\nversion: 1\ntemplate: x\ntests:\n- {name: a, inptu: {}}", "prompts/classify.yaml:5: unknown key"),
    ],
)
def test_a_wrong_shape_is_refused(text: str, complaint: str) -> None:
    """Each part of the file has one shape."""
    assert any(complaint in found for found in complaints(text))


def test_a_prompt_needs_no_fields() -> None:
    """Name, version and template are enough."""
    prompt = load("prompt: hello\nversion: 1\ntemplate: Say hello.")

    assert ({}, {}) == (prompt.input, prompt.output)
    assert "Say hello." == render(prompt, {}).user
