"""Activities scheduled around the run: in its name, with another's context, for other nodes and other tools."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from tests.attacks.intruder import Call, Came, given, intruding, make
from tests.integration.runs.waits import ended, waiting
from tests.stage import TEMPLATE, Stage
from vertebra.activities.effects import bodies
from vertebra.policies.seal import ContextFields, SealKey, seal_context
from vertebra.schemas.call import CallInput
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.signed import instant

pytestmark = [pytest.mark.attack, pytest.mark.server]

TICKETS = (TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
MAIL: dict[str, Json] = {"to": "mallory@example.org", "subject": "x", "text": "y"}
MAILS: dict[str, Json] = {"tool": "send_email", "values": MAIL}
TICKET: dict[str, Json] = {"ticket": "x"}
WIDE = b'{"permissions":["execute_tools"],"tools":["send_email","search_docs"],"models":["scripted/small"]}'


@dataclass(frozen=True)
class Victim:
    """A run whose row is open and whose execution somebody has terminated, and a bystander's."""

    run: str
    mine: dict[str, str]
    """Context ids by agent."""
    others: dict[str, str]


@pytest.fixture(scope="module")
async def intruder(stage: Stage) -> AsyncIterator[Client]:
    async with intruding(stage) as client:
        yield client


@pytest.fixture(scope="module")
async def victim(stage: Stage) -> Victim:
    """Parked before its mail, and taken from its workflow."""
    runs = [await stage.start(stage.support, json.loads(TICKETS[3])) for _ in range(2)]
    contexts = []
    for handle in runs:
        await waiting(handle.id, stage, "approval")
        rows = await stage.sql("select agent, id from contexts where run = %(run)s", run=handle.id)
        contexts.append({row["agent"]: row["id"] for row in rows})
    await runs[0].terminate()
    return Victim(runs[0].id, *contexts)


async def effects(stage: Stage, run: str) -> tuple[int, int, int]:
    """How much was bought, mailed and left the gate."""
    mails = sum(path.is_file() for path in stage.world.maildir.rglob("*"))
    [row] = await stage.sql("select count(*) as n from attempts where run = %(run)s", run=run)
    return len(stage.bought()), mails, row["n"]


def mail(name: str, header: str | None, **fields: Json) -> Call:
    """The call that the parked run is about to make."""
    return Call(
        name, "tool", "send#1", given("tool", "send", **{"tool": "send_email", "values": MAIL, **fields}), header
    )


def quoted(text: str) -> str:
    return json.dumps(text)


async def test_no_call_with_anothers_context(stage: Stage, intruder: Client, victim: Victim) -> None:
    """A call carries a context of this very run and agent in its header, or it is not made."""
    mine, others = victim.mine, victim.others
    before = await effects(stage, victim.run)
    tried = [
        mail("no header", None),
        mail("another run's context", quoted(others[""])),
        mail("another run's context of an agent", quoted(others["writer"])),
        mail("another agent's context", quoted(mine["researcher"])),
        mail("a context that is none", quoted("A" * 26)),
        mail("no text", "7"),
        mail("a list of contexts", json_text([mine[""]])),
        mail("no JSON", "{"),
        mail("nothing", ""),
        mail("an empty name", quoted("")),
        mail("50,000 levels", "[" * 50_000),
        mail("NUL", quoted(mine[""] + "\0")),
        mail("half a surrogate pair", quoted("\ud800")),
        mail("100 kB", quoted("A" * 100_000)),
        mail("a wildcard", quoted("%")),
        mail("white space behind", quoted(mine[""] + " ")),
        Call(
            "the spine's for an agent",
            "llm",
            "draft#1.1",
            given("llm", "draft", turn=1, values=TICKET),
            quoted(mine[""]),
        ),
        Call(
            "another agent's for an agent",
            "llm",
            "draft#1.1",
            given("llm", "draft", turn=1, values=TICKET),
            quoted(mine["researcher"]),
        ),
    ]

    came = await make(intruder, victim.run, tried)

    assert [call.name for call in tried] == [one.stopped for one in came]
    assert before == await effects(stage, victim.run)


async def test_no_call_under_another_name(stage: Stage, intruder: Client, victim: Victim) -> None:
    """The right call of the right node passes under its own activity id only."""
    ids = [
        "send",
        "#1",
        "send#",
        "send#0",
        "send#-1",
        "send#01",
        "send#+1",
        "send# 1",
        "send#1_0",
        "send#\u0661",
        "send#1.",
        "send#1.1",
        "send#1.1.1",
        "send#1x",
        "send#2",
        "send/send#1",
        "SEND#1",
        "send#1#1",
        "send#1\n",
        "x" * 900 + "#1",
    ]
    mailed = given("tool", "send", **MAILS)
    tried = [Call(f"the id {id_[:12]!r}", "tool", id_, mailed, quoted(victim.mine[""])) for id_ in ids]

    await assert_stopped(tried, stage, intruder, victim)


async def test_no_call_that_the_node_does_not_make(stage: Stage, intruder: Client, victim: Victim) -> None:
    """With the right context, the node that mails makes no other node's calls, and no other tool's."""
    root = quoted(victim.mine[""])
    tried = [
        Call("a node that is not there", "tool", "post#1", given("tool", "post", **MAILS), root),
        Call("another node's input", "tool", "send#1", given("tool", "draft", **MAILS), root),
        Call(
            "another visit's input",
            "tool",
            "send#1",
            (json_text({"kind": "tool", "node": "send", "visit": 2, **MAILS}),),
            root,
        ),
        Call("another kind's input", "tool", "send#1", given("llm", "send", **MAILS), root),
        Call("another kind", "llm", "send#1", given("llm", "send", **MAILS), root),
        Call("another kind, with a turn", "llm", "send#1.1", given("llm", "send", turn=1, **MAILS), root),
        Call(
            "another tool of the spine",
            "tool",
            "send#1",
            given("tool", "send", tool="python", values={"code": "print(1)"}),
            root,
        ),
        Call(
            "a search in the mail's node",
            "tool",
            "send#1",
            given("tool", "send", tool="search_docs", values={"query": "x"}),
            root,
        ),
        Call("a tool that does not exist", "tool", "send#1", given("tool", "send", tool="rm", values={}), root),
        Call("no tool", "tool", "send#1", given("tool", "send", values=MAIL), root),
        Call("as if a model had asked", "tool", "send#1", given("tool", "send", **MAILS, tool_call="c1"), root),
    ]

    await assert_stopped(tried, stage, intruder, victim)


async def test_no_tool_that_no_model_asked_for(stage: Stage, intruder: Client, victim: Victim) -> None:
    """Nodes of rules and models mail nothing, and an agent's tools are called in the turns that asked for them."""
    root, mine = quoted(victim.mine[""]), {agent: quoted(id_) for agent, id_ in victim.mine.items()}
    asked: dict[str, Json] = {"turn": 1, "tool_call": "c1"}
    tried = [
        Call("a mail from a rules node", "tool", "apologise#1", given("tool", "apologise", **MAILS), root),
        Call(
            "a mail from a model's node", "tool", "classify#1", given("tool", "classify", **MAILS), mine["classifier"]
        ),
        Call(
            "a model's mail from a model's node",
            "tool",
            "classify#1.1.1",
            given("tool", "classify", **MAILS, **asked),
            mine["classifier"],
        ),
        Call("a model in a rules node", "llm", "apologise#1.1", given("llm", "apologise", turn=1, values=TICKET), root),
        Call(
            "a mail from an agent, beyond its grant",
            "tool",
            "research#1.1.1",
            given("tool", "research", **MAILS, **asked),
            mine["researcher"],
        ),
        Call(
            "a search that no model asked for",
            "tool",
            "research#1.1.1",
            given("tool", "research", tool="search_docs", values={"query": "x"}, turn=1),
            mine["researcher"],
        ),
        Call(
            "a search of another turn",
            "tool",
            "research#1.2.1",
            given("tool", "research", tool="search_docs", values={"query": "x"}, **asked),
            mine["researcher"],
        ),
        Call(
            "a search of no number",
            "tool",
            "research#1.1.0",
            given("tool", "research", tool="search_docs", values={"query": "x"}, **asked),
            mine["researcher"],
        ),
        Call(
            "a turn that is none",
            "llm",
            "classify#1.0",
            given("llm", "classify", turn=0, values=TICKET),
            mine["classifier"],
        ),
        Call("no turn", "llm", "classify#1", given("llm", "classify", values=TICKET), mine["classifier"]),
        Call(
            "a transcript that is not kept",
            "llm",
            "research#1.9",
            given("llm", "research", turn=9, transcript="0" * 64),
            mine["researcher"],
        ),
    ]

    await assert_stopped(tried, stage, intruder, victim)


async def test_no_input_that_is_none(stage: Stage, intruder: Client, victim: Victim) -> None:
    """Broken, missing and doubled inputs, and the activities that are no effect, do nothing."""
    root, mailed = quoted(victim.mine[""]), given("tool", "send", **MAILS)
    tried = [
        Call("no input", "tool", "send#1", (), root),
        Call("two inputs", "tool", "send#1", (mailed[0], mailed[0]), root),
        Call("no JSON", "tool", "send#1", ("{",), root),
        Call("a list", "tool", "send#1", ("[]",), root),
        Call("null", "tool", "send#1", ("null",), root),
        Call("50,000 levels", "tool", "send#1", ("[" * 50_000,), root),
        Call("half a surrogate pair", "tool", "send#1", (mailed[0].replace("mallory@", "\\ud800"),), root),
        Call("NaN", "tool", "send#1", ('{"kind":"tool","node":"send","visit":NaN}',), root),
        Call("an unknown activity", "shell", "send#1", mailed, root),
        Call("the admission", "admit", "send#1", mailed, root),
        Call("the end", "close", "send#1", ('{"end":"completed"}',), root),
    ]

    await assert_stopped(tried, stage, intruder, victim)


async def assert_stopped(tried: list[Call], stage: Stage, intruder: Client, victim: Victim) -> None:
    """Each of the calls is stopped, and none has done anything."""
    before = await effects(stage, victim.run)

    came = await make(intruder, victim.run, tried)

    assert [call.name for call in tried] == [one.stopped for one in came]
    assert before == await effects(stage, victim.run)


async def test_no_call_for_a_run_that_is_not_there(stage: Stage, intruder: Client, victim: Victim) -> None:
    """Nothing is called in the name of a run that was never admitted, or that has ended."""
    handle = await stage.start(stage.support, json.loads(TICKETS[4]))
    await ended(handle, stage)
    rows = await stage.sql("select agent, id from contexts where run = %(run)s", run=handle.id)
    own = {row["agent"]: quoted(row["id"]) for row in rows}
    before = await effects(stage, handle.id)

    nobody = await make(intruder, "never-admitted", [mail("its mail", quoted(victim.mine[""]))])
    gone = await make(
        intruder,
        handle.id,
        [
            mail("its mail", own[""]),
            Call(
                "its model",
                "llm",
                "classify#1.1",
                given("llm", "classify", turn=1, values={"ticket": "new"}),
                own["classifier"],
            ),
        ],
    )

    assert ["NotAdmitted"] == [one.failure for one in nobody]
    assert ["RunEnded", "RunEnded"] == [one.failure for one in gone]
    assert before == await effects(stage, handle.id)


async def test_the_runs_own_calls_pass_or_wait(stage: Stage, intruder: Client, victim: Victim) -> None:
    """What is stopped elsewhere is stopped by its flaw: the same calls without it reach the approval, and the tool."""
    search = given("tool", "research", turn=1, tool_call="c1", tool="search_docs", values={"query": "refund"})

    held, found = await make(
        intruder,
        victim.run,
        [
            mail("the mail", quoted(victim.mine[""]), facts={"state.refund_usd": 249.0}),
            Call("a search", "tool", "research#1.1.7", search, quoted(victim.mine["researcher"])),
        ],
    )

    assert "Hold" == held.failure
    assert found.failure is None
    assert not found.result["failed"]


async def test_no_made_context_holds(stage: Stage, intruder: Client, victim: Victim) -> None:
    """Rows of rights that an owner of the database makes do not carry the seal, and open nothing."""
    run, root, key = victim.run, victim.mine[""], stage.world.seal_key
    other = SealKey(key.id, b"x" * 32)
    [parent] = await stage.sql("select * from contexts where id = %(id)s", id=root)
    [mine] = await stage.sql("select * from contexts where id = %(id)s", id=victim.mine["researcher"])

    async def put(
        id_: str, seal: bytes, key_id: str = key.id, parent_id: str | None = root, agent: str = "researcher"
    ) -> str:
        await stage.sql(
            'insert into contexts (id, parent, run, agent, "grant", depth, expires_at, key_id, seal)'
            " values (%(id)s, %(parent)s, %(run)s, %(agent)s, %(grant)s, 1, %(expires)s, %(key)s, %(seal)s)",
            id=id_,
            parent=parent_id,
            run=run,
            agent=agent,
            grant=WIDE,
            expires=mine["expires_at"],
            key=key_id,
            seal=seal,
        )
        return quoted(id_)

    fields = ContextFields("sealed", "default", run, root, "researcher", WIDE, 1, instant(mine["expires_at"]))
    forged = {
        "no seal": await put("no-seal", b""),
        "zeros for a seal": await put("zeros", bytes(32)),
        "a sibling's seal": await put("sibling", bytes(mine["seal"])),
        "its parent's seal": await put("parent", bytes(parent["seal"])),
        "another key's seal": await put("sealed", seal_context(fields, bytes(parent["seal"]), other)),
        "a key that nobody holds": await put("unknown", seal_context(fields, bytes(parent["seal"]), other), "0" * 16),
        "without a parent": await put("orphan", bytes(parent["seal"]), parent_id=None),
        "its own parent": await put("loop", bytes(mine["seal"]), parent_id=None),
        "below a bystander's": await put("foreign", bytes(mine["seal"]), parent_id=victim.others[""]),
    }
    await stage.sql("update contexts set parent = 'loop' where id = 'loop'")
    before = await effects(stage, run)

    came = await make(intruder, run, [researchers_mail(name, header) for name, header in forged.items()])

    assert [*forged] == [one.stopped for one in came]
    assert {"TamperedRow", "PermissionDenied"} == {one.failure for one in came}
    assert before == await effects(stage, run)


async def test_no_widened_context_holds(stage: Stage, intruder: Client, victim: Victim) -> None:
    """A sealed row that is edited holds no more, whichever of its columns was touched."""
    run = victim.run
    [mine] = await stage.sql("select * from contexts where id = %(id)s", id=victim.mine["researcher"])
    before = await effects(stage, run)
    came: list[Came] = []
    edits = {
        "a wider grant": 'update contexts set "grant" = %(wide)s where id = %(id)s',
        "another run": 'update contexts set run = %(run)s, "grant" = %(wide)s where id = %(id)s',
        "another agent": "update contexts set agent = '' where id = %(id)s",
        "a longer life": "update contexts set expires_at = null where id = %(id)s",
        "another depth": "update contexts set depth = 0, parent = null where id = %(id)s",
    }
    for name, edit in edits.items():
        await stage.sql(edit, wide=WIDE, id=mine["id"], run=run)
        came += await make(intruder, run, [researchers_mail(name, quoted(mine["id"]))])
        await stage.sql(
            'update contexts set run = %(run)s, agent = %(agent)s, "grant" = %(grant)s, expires_at = %(expires_at)s,'
            " depth = %(depth)s, parent = %(parent)s where id = %(id)s",
            **{name: mine[name] for name in ("id", "run", "agent", "grant", "expires_at", "depth", "parent")},
        )

    assert [*edits] == [one.stopped for one in came]
    assert {"TamperedRow", "PermissionDenied"} == {one.failure for one in came}
    assert before == await effects(stage, run)


def researchers_mail(name: str, header: str) -> Call:
    """A mail from the agent that may only search."""
    asked = given("tool", "research", turn=1, tool_call="c1", tool="send_email", values=MAIL)
    return Call(name, "tool", "research#1.1.1", asked, header)


async def test_a_body_without_the_gate_refuses(stage: Stage, intruder: Client, victim: Victim) -> None:
    """A worker that was built without the gate runs no effect: the bodies themselves refuse."""
    before = await effects(stage, victim.run)
    call = CallInput(kind="tool", node="send", visit=1, tool="send_email", values=MAIL)
    for body in bodies(stage.world):
        with pytest.raises(ApplicationError, match="did not come through the gate"):
            await body(call)
    async with Worker(stage.client, task_queue="bare", activities=bodies(stage.world)):
        header = quoted(victim.mine[""])
        bare = Call("bare", "tool", "send#1", given("tool", "send", tool="send_email", values=MAIL), header, "bare")
        came = await make(intruder, victim.run, [bare])

    assert ["NotGated"] == [one.failure for one in came]
    assert before == await effects(stage, victim.run)
