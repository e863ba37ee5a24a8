"""Conditions are checked against declared types before a graph is published."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertebra.boundary.cel_check import (
    CheckedCondition,
    ConditionComplaint,
    Declared,
    Lowered,
    check_condition,
    lower_telemetry,
)
from vertebra.schemas.fields import Field

STRING = Field(type="string")
DECLARED: Declared = {
    "input.ticket": STRING,
    "input.customer": Field(
        type="dict", fields={"tier": STRING, "address": Field(type="dict", fields={"zip": STRING})}
    ),
    "state.notes": Field(type="list", item_type=STRING),
    "state.items": Field(type="list", item_type=Field(type="dict", fields={"name": STRING})),
    "state.refund_usd": Field(type="float"),
    "state.count": Field(type="integer"),
    "classify.kind": Field(type="enum", values=("billing", "spam")),
    "research.confidence": Field(type="float"),
    "message.urgency": STRING,
    "risk_score": Field(type="float"),
    "pii_found": Field(type="boolean"),
    "all_checks_passed": Field(type="boolean"),
    "tool": STRING,
    "args": None,
    "sum_tokens": Field(type="integer"),
}

ACCEPTED = [
    ("classify.kind == 'spam'", ("classify.kind",), None),
    ("research.confidence < 0.7", ("research.confidence",), None),
    ("state.refund_usd > 100.0", ("state.refund_usd",), None),
    ("message.urgency == 'high'", ("message.urgency",), None),
    ("risk_score < 0.7", ("risk_score",), None),
    ("pii_found == false", ("pii_found",), None),
    ("all_checks_passed", ("all_checks_passed",), None),
    ("sum_tokens  > 50000", ("sum_tokens",), None),
    ("state.notes.length > 2", ("state.notes",), "state.notes.size() > 2"),
    ("input.ticket.length > 2", ("input.ticket",), "input.ticket.size() > 2"),
    ("state.notes[0].length > 2", ("state.notes",), "state.notes[0].size() > 2"),
    ("state.notes.exists(x, x.length > 2)", ("state.notes",), "state.notes.exists(x, x.size() > 2)"),
    ("state.items.exists(x, x.name == 'a')", ("state.items",), None),
    ("has(classify.kind)", ("classify.kind",), "(has(classify.kind))"),
    (
        "has(input.customer.address.zip)",
        ("input.customer.address.zip",),
        "(has(input.customer) && has(input.customer.address) && has(input.customer.address.zip))",
    ),
    ("input.customer.tier == 'has(input.tiket) state.notes.length'", ("input.customer.tier",), None),
    ("state.count == 1 // state.nowhere.length", ("state.count",), None),
    ("tool == 'python' && has(args.code)", ("args", "tool"), "tool == 'python' && (has(args.code))"),
    ("args.amount > 5", ("args",), None),
    ("'a' in state.notes && !(\"it's\" in state.notes)", ("state.notes",), None),
    (r"""input.ticket == r'\d' || input.ticket == '''state.x' ' ''' """, ("input.ticket",), None),
]


@pytest.mark.parametrize(("source", "reads", "evaluated"), ACCEPTED)
def test_a_sound_condition_gives_its_reads_and_its_evaluation_form(
    source: str, reads: tuple[str, ...], evaluated: str | None
) -> None:
    """A condition over declared values is accepted, with the paths it reads and the text to evaluate."""
    assert CheckedCondition(reads, source if evaluated is None else evaluated) == check_condition(source, DECLARED)


REFUSED = [
    ("classify.knd == 'spam'", "'classify' has no field 'knd'", "classify.knd", "did you mean 'classify.kind'?"),
    ("clasify.kind == 'spam'", "unknown name 'clasify'", "clasify.kind", "did you mean 'classify'?"),
    ("has(input.tiket)", "'input' has no field 'tiket'", "input.tiket", "did you mean 'input.ticket'?"),
    ("input.customer.teir == 'x'", "'input.customer' has no field 'teir'", "input.customer.teir", "customer.tier"),
    ("classify.kind == 'spm'", "'classify.kind' is never 'spm'", "'spm'", "did you mean 'spam'?"),
    ("'spm' != classify.kind", "'classify.kind' is never 'spm'", "'spm'", "did you mean 'spam'?"),
    ("research.confidence < 1", "found no matching overload", "< 1", "write 1.0"),
    ("state.count", "gives a int, not true or false", "state.count", "compare"),
    ("input == 'x'", "'input' is no value", "input", "input.ticket"),
    ("state.count == ", "Syntax error", "", None),
    ("sum(tokens) > 5", "guardrails and policy rules only", "sum(tokens) > 5", "resume"),
    (".state.count == 1", "begins with a dot", ".state", None),
    ("has(tool)", "always present", "has(tool)", None),
    ("int == 3", "unknown name 'int'", "int", None),
    ("state.count == 1 || nowhere()", "undeclared reference", "(", None),
    ("input.ticket == '\ud800'", "surrogate", "", None),
    ("(" * 1990 + "true" + ")" * 1990, "nested too deep", "((", "split"),
    ("x" * 5000, "longer than 4000", "xxx", None),
    ("true" + " && true" * 1600, "longer than 4000", "true", None),
    ("[" * 1000 + "]" * 1000, "nested too deep", "[", None),
    ("1" + "+1" * 1900 + " > 0", "nested too deep", "", None),
    ("[1].exists(x," * 200 + "true" + ")" * 200, "nested too deep", "", None),
    ("'unclosed", "Syntax error", "", None),
]


@pytest.mark.parametrize(("source", "message", "near", "do"), REFUSED)
def test_an_unsound_condition_is_explained(source: str, message: str, near: str, do: str | None) -> None:
    """A mistake is told in one sentence, with the part of the text it is about and what to write instead."""
    complaint = check_condition(source, DECLARED)

    assert isinstance(complaint, ConditionComplaint), complaint
    assert message in complaint.message
    assert near in complaint.near
    assert do is None or (complaint.do is not None and do in complaint.do)


def test_columns_survive_the_rewriting() -> None:
    """A complaint behind a rewritten has() and .length still points at the author's own words."""
    complaint = check_condition("has(classify.kind) && state.notes.length > 1 && state.count < 1.5", DECLARED)

    assert isinstance(complaint, ConditionComplaint)
    assert complaint.near == "< 1.5"


def test_telemetry_is_lowered_to_settled_names() -> None:
    """sum(tokens) becomes sum_tokens of the same length, outside strings and comments only."""
    lowered = lower_telemetry("sum(tokens) > 5 && max( cost_usd ) < 0.5 && tool != 'sum(tokens)' // last(tokens)")

    assert isinstance(lowered, Lowered)
    assert ("max_cost_usd", "sum_tokens") == lowered.names
    assert "sum_tokens  > 5 && max_cost_usd    < 0.5 && tool != 'sum(tokens)' // last(tokens)" == lowered.source


@pytest.mark.parametrize("source", ["sum(tokns) > 5", "max(1, 2) > 1", "sum() > 1", "count(", "sum(tokens.x) > 1"])
def test_unknown_telemetry_is_refused(source: str) -> None:
    """An aggregate over anything but the known measures is refused with the list of them."""
    complaint = lower_telemetry(source)

    assert isinstance(complaint, ConditionComplaint)
    assert complaint.do is not None
    assert "tokens, cost_usd, latency_ms, visits" in complaint.do


PIECES = [
    "state.count",
    "input.ticket",
    "classify.kind",
    "has(",
    ")",
    "(",
    "'a'",
    '"',
    "'",
    "r'",
    '"""',
    "\\",
    " == ",
    "&&",
]
MORE = [
    ".length",
    "[0]",
    ".exists(x, ",
    "x.name",
    "//",
    "\n",
    "1.0",
    "1",
    ".",
    "!",
    "sum(tokens)",
    "é",
    "{",
    "}",
    "in",
    "?",
    ":",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES + MORE) | st.text(max_size=3), max_size=14).map("".join))
def test_any_text_is_checked_or_explained(source: str) -> None:
    """No text gets an exception, or loses a character, out of the check and the lowering."""
    check_condition(source, DECLARED)
    lowered = lower_telemetry(source)

    assert isinstance(lowered, ConditionComplaint) or len(source) == len(lowered.source)
