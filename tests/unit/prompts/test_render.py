"""Templates render byte for byte, and no value is ever read as a template."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertebra.policies.declared import read_fields
from vertebra.prompts.load import load_prompt
from vertebra.prompts.render import MAX_CHARACTERS, render
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput, Complaints, RenderLimit
from vertebra.schemas.places import Unplaced
from vertebra.schemas.prompt import Prompt

INPUT: Json = {
    "name": {"type": "string"},
    "title": {"type": "string"},
    "priority": {"type": "enum", "values": ["critical", "low"]},
    "count": {"type": "integer"},
    "score": {"type": "float"},
    "urgent": {"type": "boolean"},
    "customer": {"type": "dict", "fields": {
        "tier": {"type": "string"}, "address": {"type": "dict", "fields": {"zip": {"type": "string"}}}}},
    "items": {"type": "list", "item_type": "string"},
    "numbers": {"type": "list", "item_type": "float"},
    "any": {"type": "list"},
    "people": {"type": "list", "item_type": {"type": "dict", "fields": {
        "name": {"type": "string"}, "age": {"type": "integer"}, "pets": {"type": "list", "item_type": "string"}}}},
    "free": {"type": "dict"},
    "loop": {"type": "string"},
    "none": {"type": "string"},
    "keys": {"type": "string"},
    "copy": {"type": "dict", "fields": {"values": {"type": "string"}, "pop": {"type": "integer"}}},
}  # fmt: skip
PEOPLE: Json = [{"name": "Ada", "age": 36, "pets": ["cat", "owl"]}, {"name": "Bo", "pets": []}]


def prompt(template: str, inputs: Json = INPUT) -> Prompt:
    return load_prompt({"prompt": "p", "version": 1, "template": template, "input": inputs}, Unplaced("p.yaml"))


def text(template: str, values: dict[str, Json]) -> str:
    return render(prompt(template), values).user


CASES: list[tuple[str, dict[str, Json], str]] = [
    ("plain {text} {% raw %} {# x #} }} \n\n", {}, "plain {text} {% raw %} {# x #} }} \n\n"),
    ("{{name}}", {"name": "Ada"}, "Ada"),
    ("{{ name }}|{{\nname\n}}", {"name": "Ada"}, "Ada|Ada"),
    ("[{{name}}]", {}, "[]"),
    ("[{{name}}]", {"name": None}, "[]"),
    ("{{count}} {{urgent}} {{score}}", {"count": 3, "urgent": True, "score": 1.0}, "3 true 1.0"),
    ("{{score}} {{score}}", {"score": 0.1}, "0.1 0.1"),
    ("{{score}}", {"score": 1}, "1.0"),
    ("{{customer.tier}}/{{customer.address.zip}}", {"customer": {"tier": "gold"}}, "gold/"),
    ("[{{customer.address.zip}}]", {}, "[]"),
    ("{{items}} {{free}}", {"items": ["a", "ü"], "free": {"b": 1, "a": [True]}}, '["a","ü"] {"a":[true],"b":1}'),
    ("{{copy}} {{people}}", {"copy": {"pop": 1}, "people": [{"name": "B"}]}, '{"pop":1} [{"name":"B"}]'),
    ("{{loop}}{{none}}", {"loop": "l", "none": "n"}, "ln"),
    ('{{#if priority == "critical"}}!{{else}}.{{/if}}', {"priority": "critical"}, "!"),
    ('{{#if priority == "critical"}}!{{else}}.{{/if}}', {"priority": "low"}, "."),
    ("{{#if priority == 'critical'}}!{{else}}.{{/if}}", {}, "."),
    ('{{#if priority != "low"}}!{{/if}}', {}, "!"),
    ('{{#if name == "a}}b"}}yes{{/if}}', {"name": "a}}b"}, "yes"),
    ('{{#if name == "\\n"}}yes{{/if}}', {"name": "\\n"}, "yes"),
    ("{{#if count < 3}}few{{else}}many{{/if}}", {"count": 2}, "few"),
    ("{{#if count < 3}}few{{else}}many{{/if}}", {"count": 3}, "many"),
    ("{{#if count < 3}}few{{else}}many{{/if}}", {}, "many"),
    ("{{#if count > 3}}many{{else}}few{{/if}}", {}, "few"),
    ("{{#if 3 < count}}many{{/if}}", {"count": 4}, "many"),
    ("{{#if score > 0.5}}high{{/if}}", {"score": 0.75}, "high"),
    ("{{#if score > -1}}above{{/if}}", {"score": 0}, "above"),
    ('{{#if name < "b"}}first{{/if}}', {"name": "a"}, "first"),
    ("{{#if urgent}}now{{/if}}", {"urgent": True}, "now"),
    ("{{#if urgent}}now{{/if}}", {}, ""),
    ("{{#if urgent == false}}later{{/if}}", {"urgent": False}, "later"),
    ("{{#if not urgent}}later{{/if}}", {}, "later"),
    ("{{#if not not urgent}}now{{/if}}", {"urgent": True}, "now"),
    ("{{#if items}}some{{else}}none{{/if}}", {"items": []}, "none"),
    ("{{#if customer}}known{{else}}unknown{{/if}}", {}, "unknown"),
    ("{{#if name}}a{{/if}}", {"name": ""}, ""),
    ('{{#if urgent and count > 1 or name == "x"}}a{{/if}}', {"name": "x"}, "a"),
    ('{{#if name == "x" or urgent and count > 1}}a{{/if}}', {"name": "x"}, "a"),
    ("{{#if not urgent and count}}a{{/if}}", {"urgent": True, "count": 1}, ""),
    ("{{#if urgent}}{{#if count}}both{{else}}one{{/if}}{{/if}}", {"urgent": True}, "one"),
    ("{{#each items}}{{@index}}. {{this}}\n{{/each}}", {"items": ["a", "b"]}, "0. a\n1. b\n"),
    ("[{{#each items}}x{{/each}}]", {"items": []}, "[]"),
    ("[{{#each items}}x{{/each}}]", {}, "[]"),
    ("[{{items}}{{keys}}{{copy.values}}{{keys.length}}]", {}, "[0]"),
    ("[{{copy.values}}{{copy.pop}}{{#if copy.pop < 1}}x{{/if}}]", {"copy": {}}, "[]"),
    ("{{#if keys == copy.values}}both absent{{/if}}", {}, "both absent"),
    ("{{#each numbers}}{{this}} {{/each}}", {"numbers": [1, 2.5]}, "1.0 2.5 "),
    ("{{#each any}}{{this}} {{/each}}", {"any": [1, "a", [2], None]}, "1 a [2]  "),
    ("{{#each people}}{{this.name}} {{age}};{{/each}}", {"people": PEOPLE}, "Ada 36;Bo ;"),
    ("{{#each people}}{{title}}{{../title}} {{/each}}", {"people": PEOPLE, "title": "T"}, "TT TT "),
    ("{{#each people}}{{../name}}-{{this.name}} {{/each}}", {"people": PEOPLE, "name": "N"}, "N-Ada N-Bo "),
    (
        "{{#each people}}{{@index}}:{{#each pets}}{{../@index}}.{{@index}} {{../name}} "
        "{{this}} {{../../name}};{{/each}}\n{{/each}}",
        {"people": PEOPLE, "name": "N"},
        "0:0.0 Ada cat N;0.1 Ada owl N;\n1:\n",
    ),
    (
        "{{#each people}}{{#each ../items}}{{../this.name}}{{this}} {{/each}}{{/each}}",
        {"people": PEOPLE, "items": ["x"]},
        "Adax Box ",
    ),
    ("{{#each items}}{{#if this == \"a\"}}A{{else}}{{this}}{{/if}}{{/each}}", {"items": ["a", "b"]}, "Ab"),
    ("{{#each items}}{{#if @index > 0}}, {{/if}}{{this}}{{/each}}", {"items": ["a", "b"]}, "a, b"),
    ("{{items.length}} {{name.length}} {{any.length}}", {"items": ["a", "b"], "name": "äb"}, "2 2 0"),
    ("{{#if items.length > 1}}many{{/if}}", {"items": ["a", "b"]}, "many"),
    ("{{#each people}}{{this.pets.length}}{{/each}}", {"people": PEOPLE}, "20"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "values", "expected"), CASES)
def test_each_form_renders_byte_exactly(template: str, values: dict[str, Json], expected: str) -> None:
    """What stands outside of tags is kept, and each form gives exactly this text."""
    assert expected == text(template, values)


REFUSED = [
    ("a\nb {{nmae}}", "p.yaml.template line 2: prompt 'p': undeclared name 'nmae'; did you mean 'name'?"),
    ("{{customer.teir}}", "undeclared name 'customer.teir': no field 'teir'; did you mean 'tier'?"),
    ("{{free.x}}", "no field 'x'; declare the fields"),
    ("{{name.x}}", "no field 'x'"),
    ("{{#each any}}{{this.x}}{{/each}}", "no field 'x'"),
    ("{{this}}", "'this' stands outside of #each"),
    ("{{@index}}", "'@index' stands outside of #each"),
    ("{{../name}}", "'../name' goes above the top"),
    ("{{#each people}}{{name}}{{/each}}", "'name' is both an input and a field of the item; write this.name"),
    ("{{#each name}}{{/each}}", "#each goes over lists"),
    ("{{#each nowhere}}{{this}}{{/each}}", "undeclared name 'nowhere'"),
    ("{{#if}}{{/if}}", "ends too early"),
    ("{{#if name ==}}{{/if}}", "ends too early"),
    ("{{#if == name}}{{/if}}", "a value is missing"),
    ("{{#if name name}}{{/if}}", "unexpected 'name'"),
    ("{{#if (name)}}{{/if}}", "cannot read '(name)'"),
    ("{{#if name == 1}}{{/if}}", "'==' compares a text with a number"),
    ("{{#if items == items}}{{/if}}", "'==' compares a list with a list"),
    ("{{#if urgent < true}}{{/if}}", "compares numbers or texts, not a boolean"),
    ("{{#if name | upper}}{{/if}}", "cannot read '| upper'"),
    ("{{#if " + "name and " * 100 + "name}}{{/if}}", "more than 64 words"),
    ("{{#unless name}}{{/unless}}", "unknown tag '#unless'"),
    ("{{else}}", "{{else}} stands outside of #if"),
    ("{{#if name}}{{else}}{{else}}{{/if}}", "{{else}} stands outside of #if"),
    ("{{#each items}}{{else}}{{/each}}", "{{else}} stands outside of #if"),
    ("{{#if name}}", "{{#if}} is never closed"),
    ("{{/if}}", "{{/if}} closes nothing"),
    ("{{#if name}}{{#each items}}{{/if}}{{/each}}", "{{/if}} closes nothing; here {{/each}} can be closed"),
    ("{{name", "a tag is never closed"),
    ("{{name's}}", "a tag is never closed"),
    ("{{}}", "'' is no path"),
    ("{{{name}}}", "'{name' is no path"),
    ("{{#if name}}" * 17 + "{{/if}}" * 17, "nested deeper than 16"),
    # hostile: what the engines behind other template languages would run
    ("{{ name.__class__.__mro__ }}", "no field '__class__'"),
    ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "is no path"),
    ("{{ [].__class__ }}", "is no path"),
    ("{{ name|attr('x') }}", "is no path"),
    ("{{ range(1000000000) }}", "is no path"),
    ("{{ self }}", "undeclared name 'self'"),
    ("{{ v }}{{ t }}{{ e }}", "undeclared name 'v'"),
    ("{{> partial}}", "is no path"),
    ("{{#with name}}{{/with}}", "unknown tag '#with'"),
    ("{{lookup name 'constructor'}}", "is no path"),
]


@pytest.mark.parametrize(("template", "complaint"), REFUSED)
def test_what_the_language_does_not_know_fails_at_load(template: str, complaint: str) -> None:
    """A tag outside of the grammar or of the declared names is refused with its line, before anything is rendered."""
    with pytest.raises(Complaints) as caught:
        prompt(template)

    assert complaint in str(caught.value)


def test_all_faults_of_a_template_are_told_at_once() -> None:
    """One fault does not hide the next, and each has its own line."""
    with pytest.raises(Complaints) as caught:
        prompt("{{a}}\n{{#each nowhere}}{{this}}{{/each}}\n\n{{b}}")

    assert ["line 1", "line 2", "line 4"] == [str(fault.at)[-6:] for fault in caught.value.complaints]


HOSTILE_VALUES = [
    "{{name}}",
    "{{#each items}}x{{/each}}",
    "{% for i in range(9) %}{% endfor %}",
    "{{ 7*7 }}",
    "{# c #}",
    "}} {{",
    "<script>&amp;\"'",
    "{% raw %}",
    "{{#if true}}",
]


@pytest.mark.parametrize("value", HOSTILE_VALUES)
def test_a_hostile_value_prints_literally(value: str) -> None:
    """Tags inside a value are text, in a field, an item and a condition alike."""
    template = "{{name}}|{{#each items}}{{this}}{{/each}}|{{#if name == title}}same{{/if}}"

    assert f"{value}|{value}|same" == text(template, {"name": value, "title": value, "items": [value]})


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
TAGGED = st.lists(
    ANY_TEXT | st.sampled_from([*HOSTILE_VALUES, "{{", "}}", "{%", "%}", "\\", "\r\n", "\u2028"]), max_size=6
)


@settings(max_examples=1000)
@given(TAGGED.map("".join))
def test_values_come_out_unchanged(value: str) -> None:
    """Any text stands in the prompt exactly as it was given."""
    assert f"<{value}>" == render(NAMED, {"name": value}).user


@settings(max_examples=300)
@given(ANY_TEXT.filter(lambda literal: "{{" not in literal))
def test_text_outside_of_tags_comes_out_unchanged(literal: str) -> None:
    """Any text of the author without a tag is kept byte for byte."""
    assert f"a{literal}" == text(f"a{literal}", {})


NAMED = prompt("<{{name}}>")


def test_a_billion_steps_stop_with_a_fuel_error() -> None:
    """Loops in loops end by their steps, soon."""
    template = "{{#each items}}{{#each ../items}}{{#each ../../items}}{{#if name}}x{{/if}}{{/each}}{{/each}}{{/each}}"

    with pytest.raises(RenderLimit, match="takes more than"):
        text(template, {"items": ["x"] * 1000})


def test_output_is_capped_by_its_size() -> None:
    """A few steps that print a lot end as well, whoever wrote the text."""
    many: Json = ["x"] * 2000
    with pytest.raises(RenderLimit, match="characters"):
        text("{{#each items}}{{name}}{{/each}}", {"items": many, "name": "y" * 1000})
    with pytest.raises(RenderLimit, match="characters"):
        text("{{#each items}}" + "z" * 1000 + "{{/each}}", {"items": many})
    assert MAX_CHARACTERS == len(text("{{name}}", {"name": "x" * MAX_CHARACTERS}))


def test_input_is_checked_before_it_is_rendered() -> None:
    """A value that breaks the declared fields is refused with the validator's own message."""
    rule: Json = {"type": "min_length", "value": 1, "message": "Name at least one item"}
    listed = prompt("{{items.length}}", {"items": {"type": "list", "validators": [rule]}})

    with pytest.raises(BadInput, match="input of prompt p@1: items: Name at least one item"):
        render(listed, {"items": []})


def test_the_system_text_is_a_template_too() -> None:
    """Both texts see the same input."""
    raw: Json = {"prompt": "p", "version": 2, "system": "You serve {{name}}.", "template": "Hi", "input": INPUT}
    both = load_prompt(raw, Unplaced("p.yaml"))

    assert "You serve Ada." == render(both, {"name": "Ada"}).system


def test_read_fields_is_the_same_for_prompts_and_graphs() -> None:
    """The wrapper `fields:` is optional."""
    assert prompt("x", {"fields": INPUT}).digest == prompt("x").digest
    assert read_fields(INPUT, (), _never).keys() == prompt("x").input.keys()


def _never(*_: object) -> None:
    raise AssertionError
