"""The start of a run by somebody whom we know: a fresh run id, and a ticket that is good for this very start."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import timedelta

from vertebra.client.graphs import Published
from vertebra.client.signing import About, Signer, signed
from vertebra.policies.fields import check_fields
from vertebra.schemas.canonical import Json, digest_of, json_text
from vertebra.schemas.errors import BadInput
from vertebra.schemas.fields import fields_of
from vertebra.schemas.ids import RunId, ulid
from vertebra.schemas.run import MarkedStart
from vertebra.schemas.strict_json import check_value

TICKET_LIFETIME = timedelta(minutes=10)
MAX_INPUT_BYTES = 900_000
"""A workflow's argument is at most 1 MiB, and the ticket travels with the input."""


@dataclass(frozen=True, slots=True)
class Start:
    """Everything that Temporal is told; `argument` is the workflow's only one."""

    run: RunId
    graph: str
    tenant: str
    argument: dict[str, Json]


def start_of(published: Published, value: Json, signer: Signer, run: RunId | None = None) -> Start:
    """A ticketed start of this version with this input, under a fresh id if none is given.

    Raises BadInput, listing all that is wrong with it.
    """
    name = published.graph.name
    check_fields(fields_of(published.graph.input_json), check_value(value, at="input"), at=f"input of {name}")
    text = json_text(value)
    if len(text.encode()) > MAX_INPUT_BYTES:
        raise BadInput(f"larger than {MAX_INPUT_BYTES} bytes", at=f"input of {name}")
    run = run or RunId(f"{name}-{ulid(time.time_ns() // 1_000_000, secrets.token_bytes(10))}")
    marked = MarkedStart(
        vertebra=1, version=published.graph.version, input=text, ticket=_ticket(run, published, text, signer)
    )
    return Start(run, name, published.tenant, marked.model_dump(mode="json", exclude_none=True))


def _ticket(run: RunId, published: Published, text: str, signer: Signer) -> Json:
    about = About(kind="start", id=run, run=run, digest=published.digest, arguments_digest=digest_of(text.encode()))
    ticket = signed(signer, about, TICKET_LIFETIME)
    return {"statement": ticket.statement.canonical.decode(), "signature": ticket.signature.hex()}
