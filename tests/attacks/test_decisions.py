"""Decisions that nobody with the right made about exactly this: the run waits on, nothing is sent, all is on record."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.attacks.forging import Forgery, forge_decision, told
from tests.attacks.graphs import published, text_of
from tests.integration.runs.waits import Handle, ended, waiting
from tests.stage import TEMPLATE, Stage
from vertebra.client import approvals
from vertebra.client.signing import Signer
from vertebra.policies.signature import SigningKey
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.errors import Conflict, PermissionDenied, StoreError
from vertebra.schemas.signed import instant
from vertebra.store.pool import connect

pytestmark = [pytest.mark.attack, pytest.mark.server]

PAUSE_S = 5.5
"""A little more than the pause between two looks of a run."""
QUESTION = """\
  ask:
    type: human
    show: {text: input.text}
    assign: [support_lead]
    form: {amount: {type: integer, required: true}, unit: {type: string, default: EUR}}
  say:
    type: rules
    rules: [{when: "ask.answer.amount == 7 && ask.answer.unit == 'EUR'", then: {said: {value: 7 of EUR}}}]
    default: {said: {value: something else}}
    write: {said: said}
"""
REFUND = json.loads((TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()[3])


async def parked(stage: Stage) -> tuple[Handle, str]:
    """A run that waits for the support lead, and the approval's id."""
    handle = await stage.start(stage.support, REFUND)
    return handle, (await waiting(handle.id, stage, "approval"))["ref"]


async def mails(run: str, stage: Stage) -> list[str]:
    """Names of the mails that the run's calls delivered."""
    rows = await stage.sql("select id from calls where run = %(id)s and node = 'send'", id=run)
    found = [path.name for path in stage.world.maildir.rglob("*") if path.is_file()]
    return [name for name in found if any(row["id"] in name for row in rows)]


async def refused(run: str, stage: Stage, number: int) -> list[str]:
    """The reasons on record, once there are so many."""
    for _ in range(1200):
        entries = await told(run, "decision_refused", stage)
        if len(entries) >= number:
            return [str(entry["error"]) for entry in entries]
        await asyncio.sleep(0.05)
    return [str(entry["error"]) for entry in await told(run, "decision_refused", stage)]


async def enrol_the_bad(stage: Stage) -> None:
    """Somebody who had the role and lost it, and a key that nobody enrolled."""
    await stage.enroll("gone", "support_lead", "operator")
    await stage.sql("update people set revoked_at = now() where name = 'gone'")
    stage.keys["stranger"] = SigningKey(secrets.token_bytes(32))


def forgeries(other: str, other_run: str, stage: Stage) -> list[Forgery]:
    """Every way in which a decision may be less than it seems."""
    ada, edited = stage.keys["ada"].id, json_text({"to": "m@example.org", "subject": "x", "text": "y"}).encode()
    past, future = (instant(datetime.now(UTC) + timedelta(hours=hours)) for hours in (-1, 1))
    return [
        Forgery("an unknown key", by="stranger"),
        Forgery("an unknown key in ada's name", by="stranger", says={"person": "ada"}),
        Forgery("an unknown key that calls itself ada's", by="stranger", says={"person": "ada", "key": ada}),
        Forgery("somebody without the role", by="mallory"),
        Forgery("mallory in ada's name", by="mallory", says={"person": "ada"}),
        Forgery("mallory under ada's key", by="mallory", says={"person": "ada", "key": ada}),
        Forgery("the backup before the escalation", by="bo"),
        Forgery("the backup with an edit", by="bo", says={"verb": "edit"}, arguments=edited),
        Forgery("the service itself", by="svc-support"),
        Forgery("somebody who was revoked", by="gone"),
        Forgery("replayed from another approval", says={"id": other}),
        Forgery("for another run", says={"run": other_run}),
        Forgery("edited after it was shown", says={"digest": "sha256:" + "0" * 64}),
        Forgery("about nothing", says={"digest": None}),
        Forgery("a start", says={"kind": "start"}),
        Forgery("a command", says={"kind": "command"}),
        Forgery("a publication", says={"kind": "publish"}),
        Forgery("expired", says={"expires_at": past}),
        Forgery("from the future", says={"at": future}),
        Forgery("a denial in an approval's row", says={"verb": "deny"}, columns={"verb": "approve"}),
        Forgery("a verb that does not exist", says={"verb": "override"}, columns={"verb": "approve"}),
        Forgery("arguments swapped", says={"verb": "edit"}, arguments=edited, columns={"arguments": b'{"to":"m@m.m"}'}),
        Forgery("arguments added", columns={"verb": "approve", "arguments": edited}),
        Forgery("arguments lost", says={"verb": "edit"}, arguments=edited, columns={"arguments": None}),
        Forgery("the digest of the arguments swapped", says={"verb": "edit"}, arguments=edited,
                columns={"arguments_digest": "sha256:" + "1" * 64}),
        Forgery("arguments that are no JSON", says={"verb": "edit"}, arguments=b"{"),
        Forgery("arguments of 50,000 levels", says={"verb": "edit"}, arguments=b"[" * 50_000),
        Forgery("arguments with NUL", says={"verb": "edit"}, arguments=b'{"to":"a\\u0000b"}'),
        Forgery("arguments with a key twice", says={"verb": "edit"}, arguments=b'{"to":"a@b.c","to":"m@m.m"}'),
        Forgery("in another's column", columns={"person": "bo"}),
        Forgery("another reason", says={"reason": "no"}, columns={"reason": "yes"}),
        Forgery("another nonce", columns={"nonce": secrets.token_hex(8)}),
        Forgery("no signature", signature=b""),
        Forgery("zeros for a signature", signature=bytes(64)),
        Forgery("no JSON for a statement", statement=b"{"),
        Forgery("a deep statement", statement=b"[" * 50_000),
        Forgery("a statement that is not canonical", statement=b'{ "kind": "decision" }'),
    ]  # fmt: skip


async def test_no_forged_decision_counts_and_none_keeps_the_true_one_out(stage: Stage) -> None:
    """All forgeries about one approval are refused by name on record; then the true decision still counts, once."""
    await enrol_the_bad(stage)
    (handle, approval), (other_handle, other) = await asyncio.gather(parked(stage), parked(stage))
    tried = forgeries(other, other_handle.id, stage)
    sold = len(stage.bought(handle.id))
    for forgery in tried:
        await forge_decision(stage, approval, forgery)

    await stage.wake(handle.id)
    reasons = await refused(handle.id, stage, len(tried))

    assert len(tried) == len(reasons), reasons
    assert [] == await mails(handle.id, stage)
    assert [{"state": "pending", "used_by": None}] == await stage.sql(
        "select state, used_by from approvals where id = %(id)s", id=approval
    )
    await stage.decide(approval, "approve")
    output, _ = await ended(handle, stage)
    assert "answered" == output["status"]
    assert 1 == len(await mails(handle.id, stage))
    assert sold == len(stage.bought(handle.id))
    assert [] == await mails(other_handle.id, stage)


async def test_a_decision_that_the_run_will_refuse_keeps_nobody_from_deciding(stage: Stage) -> None:
    """The client shows a request as open while all that was said about it is another than what was signed."""
    handle, approval = await parked(stage)
    edited = json_text({"to": "m@example.org", "subject": "x", "text": "y"}).encode()
    swapped = Forgery("swapped", says={"verb": "edit"}, arguments=edited, columns={"arguments": b'{"to":"m@m.m"}'})

    await forge_decision(stage, approval, swapped)
    connection = await connect(str(stage.api.conninfo))
    async with connection:
        found = await approvals.approval(connection, approval)
        signer = Signer("ada", stage.keys["ada"])
        await approvals.decide(connection, signer, found, approvals.Verdict("approve", found.asked.digest))
    await stage.wake(handle.id)
    output, _ = await ended(handle, stage)

    assert found.is_open
    assert "answered" == output["status"]


async def test_an_answer_that_does_not_fit_its_form_is_none(stage: Stage) -> None:
    """Whoever holds the role may sign without the client, which asks for the form: the run asks on, and so does it."""
    graph = await published(stage, text_of("asks", QUESTION, edges="edges: [ask -> say]\n"))
    handle = await stage.start(graph, {"text": "x"})
    approval = (await waiting(handle.id, stage, "approval"))["ref"]

    odd: list[Json] = [None, {}, {"amount": "much"}, {"amount": 1, "also": 2}, [1], 5]
    for arguments in odd:
        await stage.decide(approval, "approve", arguments=arguments)
    reasons = await refused(handle.id, stage, 6)
    connection = await connect(str(stage.api.conninfo))
    async with connection:
        found = await approvals.approval(connection, approval)
        with pytest.raises(PermissionDenied, match="does not fit the form"):
            verdict = approvals.Verdict("approve", found.asked.digest, {"amount": "much"})
            await approvals.decide(connection, Signer("ada", stage.keys["ada"]), found, verdict)
        fits = approvals.Verdict("approve", found.asked.digest, {"amount": 7})
        await approvals.decide(connection, Signer("ada", stage.keys["ada"]), found, fits)
    await stage.wake(handle.id)
    output, _ = await ended(handle, stage)

    assert 6 == len(reasons)
    assert all("the answer does not fit the form" in reason for reason in reasons)
    assert {"said": "7 of EUR"} == output


async def test_the_first_decision_stands(stage: Stage) -> None:
    """A second decision, whatever it says, changes nothing; and each approval is used by one call."""
    (one, first), (two, second) = await asyncio.gather(parked(stage), parked(stage))

    await stage.decide(first, "deny", wake=False)
    await stage.decide(first, "approve")
    await stage.decide(second, "approve", wake=False)
    await stage.decide(second, "deny", wake=False)
    await stage.decide(second, "approve")
    await waiting(one.id, stage, "blocked")
    await ended(two, stage)

    assert [] == await mails(one.id, stage)
    assert 1 == len(await mails(two.id, stage))


async def test_a_nonce_counts_once(stage: Stage) -> None:
    """The database takes no second row under one key and nonce, whatever else it says."""
    _, approval = await parked(stage)
    nonce = secrets.token_hex(8)
    await forge_decision(
        stage, approval, Forgery("first", says={"nonce": nonce, "verb": "deny"}, columns={"verb": "deny"})
    )

    with pytest.raises(Conflict):
        await forge_decision(stage, approval, Forgery("again", says={"nonce": nonce}))


async def test_a_verb_that_is_edited_after_signing_does_not_count(stage: Stage) -> None:
    """An owner of the database turns a signed denial into an approval: refused on record, and the mail is not sent."""
    handle, approval = await parked(stage)
    await stage.decide(approval, "deny", wake=False)

    await stage.sql("update decisions set verb = 'approve' where approval = %(id)s", id=approval)
    await stage.wake(handle.id)
    reasons = await refused(handle.id, stage, 1)

    assert 1 == len(reasons)
    assert [] == await mails(handle.id, stage)


async def test_an_approval_that_is_set_by_hand_lets_nothing_pass(stage: Stage) -> None:
    """An owner of the database sets a denied approval to approved and the call is tried again: it is refused."""
    handle, approval = await parked(stage)
    await stage.decide(approval, "deny")
    await waiting(handle.id, stage, "blocked")

    await stage.sql("update approvals set state = 'approved' where id = %(id)s", id=approval)
    await stage.command(handle.id, "retry", "send", 1)
    for _ in range(1200):
        denied = [entry for entry in await told(handle.id, "tool_execution", stage) if entry["outcome"] == "denied"]
        if denied or await mails(handle.id, stage):
            break
        await asyncio.sleep(0.05)

    assert [] == await mails(handle.id, stage)
    assert 1 == len(denied)


async def test_an_approver_who_is_revoked_in_between_approves_nothing(stage: Stage) -> None:
    """Decided in time, revoked before the run looks: the decision no longer counts."""
    await stage.enroll("cy", "support_lead")
    handle, approval = await parked(stage)
    await stage.decide(approval, "approve", by="cy", wake=False)

    await stage.sql("update people set revoked_at = now() where name = 'cy'")
    await stage.wake(handle.id)
    reasons = await refused(handle.id, stage, 1)

    assert ["'cy' was revoked"] == reasons
    assert [] == await mails(handle.id, stage)


async def test_a_decision_after_the_expiry_comes_too_late(stage: Stage) -> None:
    """What expired is not approved any more, also where the run has not looked since."""
    handle, approval = await parked(stage)
    await stage.sql("update approvals set expires_at = now() - interval '1 second' where id = %(id)s", id=approval)

    await stage.decide(approval, "approve")
    await waiting(handle.id, stage, "blocked")

    assert 1 == len(await told(handle.id, "decision_refused", stage))
    assert [] == await mails(handle.id, stage)


@pytest.mark.parametrize("column", ["at", "consumed_at"])
@pytest.mark.parametrize("table", ["decisions", "commands"])
async def test_the_api_cannot_choose_when_something_was_signed(stage: Stage, table: str, column: str) -> None:
    """Times that expiry, escalation and the record depend on are the database's: no login but the owner's sets them."""
    async with stage.api.connection() as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(f"insert into {table} ({column}) values (now())")
        await connection.rollback()


async def test_who_only_reads_signs_nothing(stage: Stage) -> None:
    """The gate's own login cannot write a decision, so a captured worker cannot approve what it wants to do."""
    _, approval = await parked(stage)
    gate = stage.world.pool

    with pytest.raises(StoreError) as refusal:
        await forge_decision(Stage(**{**vars(stage), "api": gate}), approval, Forgery("by the worker"))

    assert "42501" == refusal.value.sqlstate
