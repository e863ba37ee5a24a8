"""The table of failures: every kind has a meaning, and only fitting ones are tried again."""

from __future__ import annotations

from typing import get_args

import pytest

from vertebra.boundary.redaction import without
from vertebra.providers.errors import MEANINGS, RULES, failure, kind_of, told, unfinished
from vertebra.schemas.errors import FailureKind
from vertebra.schemas.llm import FinishReason, ModelReply, ModelUsage


def reply(finish_reason: FinishReason) -> ModelReply:
    return ModelReply(
        usage=ModelUsage(input=1, output=1), finish_reason=finish_reason, provider="scripted", model="small"
    )


def test_every_kind_has_a_meaning() -> None:
    """The table and the kinds are the same list."""
    assert set(get_args(FailureKind)) == set(MEANINGS)


def test_counted_kinds_are_retried() -> None:
    """What counts against `max_attempts` is exactly network, timeout, server and malformed; it is tried again."""
    counted = {kind for kind, meaning in MEANINGS.items() if meaning.counts}

    assert {"network", "timeout", "server", "malformed"} == counted
    assert all(MEANINGS[kind].retryable for kind in counted)


def test_waited_kinds_do_not_count() -> None:
    """Rate limits and overload are waited out without using up attempts."""
    assert {"rate_limited", "overloaded"} == {kind for kind, m in MEANINGS.items() if m.retryable and not m.counts}


def test_a_failure_reads_as_a_sentence() -> None:
    """A message has place, what happened, and what to do."""
    error = failure("rate_limited", "anthropic/large", "HTTP 429", 2.5)

    assert (
        "anthropic/large: the model asks for fewer requests: HTTP 429; wait, or raise the account's rate limit"
        == str(error)
    )
    assert 2.5 == error.retry_after_s


@pytest.mark.parametrize("reason", ["length", "content_filter", "refused"])
def test_unfinished_replies_are_failures(reason: FinishReason) -> None:
    """A reply that was cut, filtered or refused is no success and is not tried again."""
    error = unfinished(reply(reason))

    assert error is not None
    assert (reason, False) == (error.kind, error.retryable)


@pytest.mark.parametrize("reason", ["completed", "tool_calls"])
def test_finished_replies_are_none(reason: FinishReason) -> None:
    """A whole answer and a request for tools are successes."""
    assert unfinished(reply(reason)) is None


@pytest.mark.parametrize(
    ("status", "word", "said", "kind"),
    [
        (529, "overloaded_error", "Overloaded", "overloaded"),
        (500, "overloaded_error", "Overloaded", "overloaded"),
        (503, "server_error", "The engine is currently overloaded", "overloaded"),
        (503, "", "no healthy upstream", "server"),
        (429, "rate_limit_exceeded", "Rate limit reached", "rate_limited"),
        (429, "insufficient_quota", "You exceeded your current quota", "no_credit"),
        (400, "invalid_request_error", "Your credit balance is too low", "no_credit"),
        (402, "", "", "no_credit"),
        (400, "context_length_exceeded", "", "context_too_long"),
        (400, "BadRequestError", "This model's maximum context length is 4096 tokens", "context_too_long"),
        (413, "", "", "context_too_long"),
        (400, "content_filter", "", "content_filter"),
        (400, "", "blocked by content filtering policy", "content_filter"),
        (401, "invalid_api_key", "Incorrect API key", "bad_key"),
        (403, "", "", "bad_key"),
        (404, "model_not_found", "The model does not exist", "bad_request"),
        (504, "", "", "timeout"),
        (302, "", "", "bad_request"),
        (599, "", "", "server"),
    ],
)
def test_the_words_of_vendors(status: int, word: str, said: str, kind: FailureKind) -> None:
    """Each documented refusal of the two vendors, and of servers like them, has the kind that fits it."""
    assert kind == kind_of(status, frozenset([word]), said)


def test_every_rule_is_reached() -> None:
    """No row stands behind others that take everything of it: each fits an answer that no earlier one fits."""
    for number, rule in enumerate(RULES):
        said = rule.says.split("|")[0].replace("\\", "")
        words = frozenset(rule.words[:1])
        answers = [(status, words, said) for status in rule.statuses or (418,)]

        assert any(not any(one.fits(*answer) for one in RULES[:number]) for answer in answers), rule


@pytest.mark.parametrize("form", ["sk-a/b+c", "sk-a\\/b+c", "sk-a%2Fb%2Bc", "736b2d612f622b63", "c2stYS9iK2M"])
def test_a_key_that_is_quoted_is_blotted_out(form: str) -> None:
    """Vendors quote what they were sent, as it is or in another alphabet; the message holds none of it."""
    error = told("openai/large", 401, frozenset(), f"bad key {form}\x00 of yours", "sk-a/b+c", None)

    assert "openai/large: the model refused the key: HTTP 401, bad key *** of yours" in str(error)


def test_a_word_that_is_no_secret_stays() -> None:
    """A local server that wants any key is given a word, and what the model says with that word is left as it is."""
    assert "ollama runs here" == without("ollama", "ollama runs here")
    assert "nothing to hide" == without(None, "nothing to hide")
