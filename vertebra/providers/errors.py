"""The one table of how vendors fail: what their words mean, what is tried again, after how long, what a person does.

A vendor's word is read by RULES, first match first; what follows from its kind stands in MEANINGS. An attempt that is
made again waits as long as the vendor asks, else the node's own backoff.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vertebra.boundary.redaction import without
from vertebra.schemas.errors import FailureKind, ProviderFailure
from vertebra.schemas.llm import FinishReason, ModelReply

MAX_RETRY_AFTER_S = 600.0
"""A vendor's delay is obeyed up to here: a hostile or broken header must not stall a run for a day."""
_SAID_CHARS = 300


@dataclass(frozen=True, slots=True)
class Meaning:
    """What follows from one kind of failure."""

    retryable: bool
    counts: bool
    says: str
    do: str

    @property
    def delay(self) -> str:
        """How long the next attempt waits, in words."""
        return "the vendor's, else the node's backoff" if self.retryable else "-"


MEANINGS: dict[FailureKind, Meaning] = {
    "network": Meaning(True, True, "could not be reached", "check the network and the endpoint"),
    "timeout": Meaning(True, True, "did not answer in time", "raise the node's timeout or ask for less output"),
    "server": Meaning(True, True, "failed on its side", "wait, or look at the vendor's status page"),
    "malformed": Meaning(True, True, "sent a reply that cannot be read", "report it to the vendor if it persists"),
    "rate_limited": Meaning(True, False, "asks for fewer requests", "wait, or raise the account's rate limit"),
    "overloaded": Meaning(True, False, "is overloaded", "wait, or choose another model"),
    "bad_key": Meaning(False, False, "refused the key", "check the secret that holds this provider's key"),
    "no_credit": Meaning(False, False, "has no credit left for this account", "add credit at the vendor, then retry"),
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


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: it fits where everything that it states does."""

    kind: FailureKind
    statuses: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    """What the vendor calls it, in `error.type` or `error.code`."""
    says: str = ""
    """A pattern in the vendor's message, where it has no word of its own."""

    def fits(self, status: int, words: frozenset[str], said: str) -> bool:
        return (
            (not self.statuses or status in self.statuses)
            and (not self.words or not words.isdisjoint(self.words))
            and (not self.says or re.search(self.says, said, re.IGNORECASE) is not None)
        )


RULES: tuple[Rule, ...] = (
    Rule("overloaded", words=("overloaded_error", "overloaded", "server_is_overloaded", "slow_down")),
    Rule("no_credit", words=("insufficient_quota", "billing_hard_limit_reached", "billing_error")),
    Rule("no_credit", statuses=(402,)),
    Rule("no_credit", statuses=(400, 403), says=r"credit balance is too low"),
    Rule("context_too_long", words=("context_length_exceeded",)),
    Rule(
        "context_too_long",
        statuses=(400, 422),
        says=r"prompt is too long|context (window|limit|length)|too many (total )?(text )?(bytes|tokens)",
    ),
    Rule("context_too_long", statuses=(413,)),
    Rule("content_filter", words=("content_filter", "content_policy_violation")),
    Rule("content_filter", statuses=(400,), says=r"content filter"),
    Rule("overloaded", statuses=(503,), says=r"overloaded|slow down|at capacity"),
    Rule("overloaded", statuses=(529,)),
    Rule("rate_limited", statuses=(429,)),
    Rule("bad_key", statuses=(401, 403)),
    Rule("timeout", statuses=(408, 504)),
    Rule("server", statuses=(409,)),
    Rule("server", statuses=tuple(range(500, 600))),
    Rule("bad_request"),
)
"""Anthropic's and OpenAI's documented errors, and what servers of the same interface say instead."""


def kind_of(status: int, words: frozenset[str], said: str) -> FailureKind:
    """What a vendor's error means. Pure."""
    return next(rule.kind for rule in RULES if rule.fits(status, words, said))


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


def unknown_stop(said: str, at: str) -> ProviderFailure:
    """The error for a reply that ended for a reason of which this release knows nothing."""
    do = "use a release of vertebra that knows it"
    return failure("bad_request", at, f"the model stopped for {said[:40]!r}, which is unknown", do=do)


def told(
    at: str, status: int, words: frozenset[str], said: str, key: str | None, retry_after_s: float | None
) -> ProviderFailure:
    """The error for a vendor's own words, in which the key may stand: vendors quote what they were sent."""
    clean = without(key, said).encode(errors="replace").decode().replace("\x00", "")
    shown = f", {' '.join(clean.split())[:_SAID_CHARS]}" if clean.strip() else ""
    return failure(kind_of(status, words, said), at, f"HTTP {status}{shown}", retry_after_s)


def unfinished(reply: ModelReply) -> ProviderFailure | None:
    """Why this reply, though paid for, is no success; None if it is one."""
    kind = UNFINISHED.get(reply.finish_reason)
    return None if kind is None else failure(kind, f"{reply.provider}/{reply.model}")
