"""The one table of how vendors fail: what is tried again, what counts as an attempt, and what a person should do."""

from __future__ import annotations

from dataclasses import dataclass

from vertebra.schemas.errors import FailureKind, ProviderFailure
from vertebra.schemas.llm import FinishReason, ModelReply

MAX_RETRY_AFTER_S = 600.0
"""A vendor's delay is obeyed up to here: a hostile or broken header must not stall a run for a day."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What follows from one kind of failure."""

    retryable: bool
    counts: bool
    says: str
    do: str


MEANINGS: dict[FailureKind, Meaning] = {
    "network": Meaning(True, True, "could not be reached", "check the network and the endpoint"),
    "timeout": Meaning(True, True, "did not answer in time", "raise the node's timeout or ask for less output"),
    "server": Meaning(True, True, "failed on its side", "wait, or look at the vendor's status page"),
    "malformed": Meaning(True, True, "sent a reply that cannot be read", "report it to the vendor if it persists"),
    "rate_limited": Meaning(True, False, "asks for fewer requests", "wait, or raise the account's rate limit"),
    "overloaded": Meaning(True, False, "is overloaded", "wait, or name a fallback model"),
    "bad_key": Meaning(False, False, "refused the key", "check the secret that holds this provider's key"),
    "bad_request": Meaning(False, False, "refused the request", "correct the agent's model settings, tools or schema"),
    "context_too_long": Meaning(
        False, False, "cannot read a request this long", "shorten the input or choose a model with a longer context"
    ),
    "content_filter": Meaning(
        False, False, "filtered the content", "change the prompt or input, or give the node an on_error path"
    ),
    "refused": Meaning(
        False, False, "declined to answer", "change the prompt or input, or give the node an on_error path"
    ),
    "length": Meaning(False, False, "was cut off at its output cap", "raise max_output_tokens or ask for less"),
}

UNFINISHED: dict[FinishReason, FailureKind] = {
    "length": "length",
    "content_filter": "content_filter",
    "refused": "refused",
}


def failure(
    kind: FailureKind, at: str, detail: str = "", retry_after_s: float | None = None, *, do: str | None = None
) -> ProviderFailure:
    """The error for one failed request. `at` names provider and model; `detail` must hold no secret and no content."""
    meaning = MEANINGS[kind]
    return ProviderFailure(
        f"the model {meaning.says}" + (f": {detail}" if detail else ""),
        kind=kind,
        retryable=meaning.retryable,
        counts=meaning.counts,
        retry_after_s=None if retry_after_s is None else min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S),
        at=at,
        do=do or meaning.do,
    )


def unfinished(reply: ModelReply) -> ProviderFailure | None:
    """Why this reply, though paid for, is no success; None if it is one."""
    kind = UNFINISHED.get(reply.finish_reason)
    return None if kind is None else failure(kind, f"{reply.provider}/{reply.model}")
