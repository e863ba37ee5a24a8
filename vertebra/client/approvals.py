"""What people are asked, exactly as they are to see it, and the signed row with which they decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from vertebra.client.people import acting, known
from vertebra.client.signing import About, Signer, signed
from vertebra.policies.decision import Asked, Person, check_answer, check_decision, check_role
from vertebra.schemas.canonical import Json, digest_of, json_text
from vertebra.schemas.errors import ApprovalClosed, BadInput, NotFound, PolicyError
from vertebra.schemas.run import MAX_ORDERS, MAX_ORDERS_BYTES
from vertebra.store.people import arguments_of, asked_of, check_row, signed_of
from vertebra.store.pool import Link
from vertebra.store.queries import named
from vertebra.store.transaction import Query, Row, pipelined, trip

Verb = Literal["approve", "edit", "deny"]


@dataclass(frozen=True, slots=True)
class Approval:
    """A request to a person. `decisions` are the rows about it that count, the first of them is the decision."""

    asked: Asked
    tenant: str
    node: str
    visit: int
    kind: str
    subject: str
    state: str
    round: int
    used_by: str | None
    at: datetime
    now: datetime
    graph: str
    version: str
    graph_digest: str
    request: dict[str, Json]
    decisions: tuple[Row, ...]

    @property
    def is_open(self) -> bool:
        """Whether somebody may still decide."""
        expired = self.asked.expires_at is not None and self.now >= self.asked.expires_at
        return self.state == "pending" and not expired and not self.decisions

    @property
    def escalated(self) -> bool:
        """Whether the backup may decide too."""
        return self.asked.escalate_after is not None and self.now >= self.asked.escalate_after

    @property
    def arguments(self) -> Json:
        """The final arguments of a tool, or what a person is shown."""
        text = self.request.get("arguments") or self.request.get("show")
        return json.loads(text) if isinstance(text, str) else None

    @property
    def form(self) -> str | None:
        """The fields of the answer that a question asks for, as JSON."""
        return form_of(self.kind, self.request)

    @property
    def tool(self) -> str | None:
        """The tool that would run."""
        tool = self.request.get("tool")
        return tool if isinstance(tool, str) else None


def form_of(kind: str, request: dict[str, Json]) -> str | None:
    """The fields of the answer that a request of this kind asks for, as JSON; None if it asks for yes or no."""
    form = request.get("form") if kind == "human" else None
    return form if isinstance(form, str) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says. `arguments`: of `edit` all final ones, of `approve` the answer to a question's form."""

    verb: Verb
    digest: str
    """Of the request as it was shown."""
    arguments: Json = None
    reason: str | None = None


async def pending(connection: Link, run: str | None = None) -> list[Row]:
    """What waits for a person, oldest first."""
    [rows] = await trip(connection, [Query("pending", named("client", "pending"), {"run": run})])
    return rows


async def approval(connection: Link, approval_id: str) -> Approval:
    """One request with its decisions. Raises NotFound."""
    of_id = {"id": approval_id}
    bound = {"most": MAX_ORDERS, "most_bytes": MAX_ORDERS_BYTES}
    rows, decisions = await trip(
        connection,
        [
            Query("approval", named("client", "approval"), of_id),
            Query("asked_decisions", named("steps", "asked_decisions"), {"ids": [approval_id], **bound}),
        ],
    )
    if not rows:
        raise NotFound(f"there is no approval {approval_id!r}", do="list them with: vertebra approvals list")
    row = rows[0]
    asked = asked_of(row)
    people = await known(connection, {d["person"] for d in decisions}, {d["key"] for d in decisions})
    request = json.loads(bytes(row["request"]))
    form = form_of(row["kind"], request)
    counting = tuple(decision for decision in decisions if _counts(asked, form, decision, people))
    return Approval(
        asked=asked,
        tenant=row["tenant"],
        node=row["node"],
        visit=row["visit"],
        kind=row["kind"],
        subject=row["subject"],
        state=row["state"],
        round=row["round"],
        used_by=row["used_by"],
        at=row["at"],
        now=row["now"],
        graph=row["graph"],
        version=row["version"],
        graph_digest=row["graph_digest"],
        request=request,
        decisions=counting,
    )


async def decide(connection: Link, signer: Signer, found: Approval, verdict: Verdict) -> str:
    """Write the signed decision, with a wake of the run, as one transaction; gives its nonce.

    Raises ApprovalClosed, PermissionDenied, BadInput: nothing is written then. Whoever acts on it checks all
    this again. The arguments of an `edit` must have been checked against the tool's schema.
    """
    person = await acting(connection, signer)
    _check_open(found, verdict)
    check_role(found.asked, person, found.now)
    check_answer(found.form, verdict.verb, verdict.arguments)
    text = None if verdict.arguments is None else json_text(verdict.arguments)
    arguments_digest = None if text is None else digest_of(text.encode())
    about = About(
        kind="decision",
        id=found.asked.id,
        run=found.asked.run,
        node=found.node,
        visit=found.visit,
        digest=found.asked.digest,
        verb=verdict.verb,
        arguments_digest=arguments_digest,
        reason=verdict.reason,
    )
    signature = signed(signer, about)
    row = {
        "tenant": found.tenant,
        "approval": found.asked.id,
        "verb": verdict.verb,
        "arguments": None if text is None else text.encode(),
        "arguments_digest": arguments_digest,
        "digest": found.asked.digest,
        "reason": verdict.reason,
        **signature.params,
    }
    nonce = signature.statement.nonce
    wake = {"tenant": found.tenant, "kind": "wake", "run": found.asked.run, "ref": f"decision/{nonce}"}
    async with pipelined(connection) as opened:
        await opened.commit(
            [
                Query("put_decision", named("client", "put_decision"), row),
                Query("put_outbox", named("client", "put_outbox"), wake),
            ]
        )
    return nonce


def _check_open(found: Approval, verdict: Verdict) -> None:
    asked = found.asked
    if found.decisions:
        first = found.decisions[0]
        raise ApprovalClosed(
            f"approval {asked.id} was decided already: {first['person']!r} said {first['verb']!r}",
            at=f"{first['at']:%F %T}",
        )
    if found.state != "pending":
        raise ApprovalClosed(f"approval {asked.id} is {found.state}", do="list open ones: vertebra approvals list")
    if not found.is_open:
        raise ApprovalClosed(
            f"approval {asked.id} expired at {asked.expires_at:%F %T}", do="retry the node to ask anew"
        )
    if verdict.digest != asked.digest:
        raise ApprovalClosed(
            f"approval {asked.id} asks about other arguments than the digest that was given",
            do=f"look again: vertebra approvals show {asked.id}",
        )
    if verdict.verb == "edit" and (found.kind != "effect" or found.tool is None):
        raise BadInput("only the arguments of a tool can be edited", at=f"approval {asked.id}", do="approve or deny")


def _counts(asked: Asked, form: str | None, decision: Row, people: Sequence[Person]) -> bool:
    try:
        check_row(check_decision(asked, signed_of(decision), people), decision)
        check_answer(form, decision["verb"], arguments_of(decision))
    except PolicyError:
        return False
    return True
