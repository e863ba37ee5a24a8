"""The table of failures: every kind has a meaning, and only fitting ones are tried again."""

from __future__ import annotations

from typing import get_args

import pytest

from vertebra.providers.errors import MEANINGS, failure, unfinished
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
