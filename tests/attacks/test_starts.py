"""The one door: starts that were forged, replayed, poisoned or made unreadable are refused at once and on record."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.attacks.graphs import published, speaks, text_of
from tests.attacks.trying import Try, all_refused, marked, raw, told
from tests.attacks.vendor import Vendor, says
from tests.integration.runs.waits import ended, waiting
from tests.stage import TEMPLATE, Stage
from vertebra.policies.signature import SigningKey, sign
from vertebra.schemas.canonical import Json, json_text
from vertebra.schemas.graph import CompiledGraph
from vertebra.schemas.signed import Statement, instant

pytestmark = [pytest.mark.attack, pytest.mark.server]

TEXT = json_text({"text": "x"})
DEEP = 50_000


@pytest.fixture(scope="module")
async def closed(stage: Stage, vendor: Vendor) -> CompiledGraph:
    """A graph that names no principal: whoever starts it needs a ticket."""
    vendor.turned["one"] = says("hello")
    return await published(stage, text_of("closed", speaks("one", write=True), principal=False))


@pytest.fixture(scope="module")
async def ajar(stage: Stage, vendor: Vendor) -> CompiledGraph:
    """A graph that anybody may start as its service principal."""
    vendor.turned["one"] = says("hello")
    return await published(stage, text_of("ajar", speaks("one", write=True)))


def fresh() -> str:
    return f"try-{secrets.token_hex(6)}"


def ticketed(name: str, graph: CompiledGraph, run: str, ticket: Json, text: str = TEXT) -> Try:
    return Try(name, graph.name, run, [marked(version=graph.version, input=text, ticket=ticket)])


def signed_by(secret: bytes, ticket: Json) -> Json:
    """The same statement under the signature of another key."""
    assert isinstance(ticket, dict)
    signature = Ed25519PrivateKey.from_private_bytes(secret).sign(str(ticket["statement"]).encode())
    return {**ticket, "signature": signature.hex()}


def reworded(ticket: Json, **fields: Json) -> Json:
    """The ticket with its statement edited after it was signed."""
    assert isinstance(ticket, dict)
    statement = json.loads(str(ticket["statement"])) | fields
    return {**ticket, "statement": json.dumps(statement, sort_keys=True, separators=(",", ":"))}


def signed_anew(stage: Stage, ticket: Json, by: str, **fields: Json) -> Json:
    """The ticket with other fields, properly signed with this person's key."""
    assert isinstance(ticket, dict)
    key = stage.keys[by]
    made = Statement.model_validate({**json.loads(str(ticket["statement"])), "key": key.id, **fields})
    return {"statement": made.canonical.decode(), "signature": sign(made, key).hex()}


async def test_no_start_without_a_ticket_that_counts(stage: Stage, closed: CompiledGraph, ajar: CompiledGraph) -> None:
    """A start that needs a ticket is let in by none but its own, fresh, signed by an enrolled starter."""
    runs = [fresh() for _ in range(16)]
    stranger = SigningKey(secrets.token_bytes(32))
    stage.keys["stranger"] = stranger
    await stage.enroll("gone", "starter")
    await stage.sql("update people set revoked_at = now() where name = 'gone'")
    good = [stage.ticket(closed, run, TEXT) for run in runs]
    past, future = (instant(datetime.now(UTC) + timedelta(hours=hours)) for hours in (-1, 1))
    tries = [
        Try("no ticket", closed.name, runs[0], [{"text": "x"}]),
        ticketed("null for a ticket", closed, runs[1], None),
        ticketed("for another graph", closed, runs[2], stage.ticket(ajar, runs[2], TEXT)),
        ticketed("for another input", closed, runs[3], good[3], json_text({"text": "y"})),
        ticketed("for another run", closed, runs[4], good[5]),
        ticketed("expired", closed, runs[5], stage.ticket(closed, runs[5], TEXT, expires_at=past)),
        ticketed("from the future", closed, runs[6], stage.ticket(closed, runs[6], TEXT, at=future)),
        ticketed("by somebody without a role", closed, runs[7], stage.ticket(closed, runs[7], TEXT, by="mallory")),
        ticketed("by a revoked person", closed, runs[8], stage.ticket(closed, runs[8], TEXT, by="gone")),
        ticketed("by the service itself", closed, runs[9], stage.ticket(closed, runs[9], TEXT, by="svc-support")),
        ticketed("by an unknown key", closed, runs[10],
                 signed_anew(stage, good[10], "stranger")),
        ticketed("in another's name", closed, runs[11], signed_anew(stage, good[11], "mallory")),
        ticketed("under another's signature", closed, runs[12], signed_by(stage.keys["mallory"].secret, good[12])),
        ticketed("reworded", closed, runs[13], reworded(good[12], id=runs[13])),
        ticketed("of another kind", closed, runs[14], signed_anew(stage, good[14], "ada", kind="decision")),
        ticketed("without an end", closed, runs[15], stage.ticket(closed, runs[15], TEXT, expires_at=None)),
    ]  # fmt: skip

    stopped = await all_refused(tries, stage)

    assert [one.name for one in tries] == stopped
    assert [] == [sale for run in runs for sale in stage.bought(run)]


async def test_no_ticket_that_cannot_be_read(stage: Stage, closed: CompiledGraph) -> None:
    """Whatever stands where a ticket should, poison included, is a refusal and never an endless retry."""
    good = stage.ticket(closed, "x", TEXT)
    assert isinstance(good, dict)
    signature = good["signature"]
    deep = "[" * DEEP
    tickets: dict[str, Json] = {
        "a text": "let me in",
        "a number": 7,
        "a list": [good],
        "nothing in it": {},
        "no statement": {"signature": signature},
        "no signature": {"statement": good["statement"]},
        "a signature that is no hex": {**good, "signature": "zz"},
        "a short signature": {**good, "signature": "00"},
        "an object for a statement": {**good, "statement": {"kind": "start"}},
        "no JSON": {**good, "statement": "{"},
        "a deep statement": {**good, "statement": deep},
        "a NUL in the key": {**good, "statement": '{"key": "a\\u0000b", "person": "ada"}'},
        "a NUL in the person": reworded(good, person="a\0da"),
        "half a surrogate pair in the key": {**good, "statement": '{"key": "\\ud800", "person": "ada"}'},
        "half a surrogate pair in the person": reworded(good, person="\ud800"),
        "a statement with half a surrogate pair": {**good, "statement": "\ud800" + str(good["statement"])},
        "a key that is an object": {**good, "statement": '{"key": {"a": 1}, "person": ["ada"]}'},
    }
    tries = [
        Try(name, closed.name, fresh(), [raw(json.dumps(marked(version="1.0.0", input=TEXT, ticket=ticket)).encode())])
        for name, ticket in tickets.items()
    ]

    stopped = await all_refused(tries, stage)

    assert [one.name for one in tries] == stopped


async def test_a_ticket_lets_in_once(stage: Stage, closed: CompiledGraph) -> None:
    """A ticket that was used lets in no second run, under its own id or another, before the end or after it."""
    run = fresh()
    ticket = stage.ticket(closed, run, TEXT)
    argument = marked(version=closed.version, input=TEXT, ticket=ticket)
    await ended(await stage.start_raw(closed.name, run, argument), stage)
    again = [
        Try("under its own id", closed.name, run, [argument], claimed=True),
        Try("under another id", closed.name, fresh(), [argument]),
        Try("bare, under its id", "ajar", run, [{"text": "x"}], claimed=True),
        Try("as a resumption", closed.name, run, [marked(input=TEXT, ticket=ticket, resume="c1")], claimed=True),
    ]

    stopped = [(await all_refused([one], stage))[0] for one in again]

    assert [one.name for one in again] == stopped
    assert 1 == len(stage.bought(run))


async def test_a_taken_id_stays_its_owners(stage: Stage, ajar: CompiledGraph) -> None:
    """Who terminates a parked run's execution and starts another under its id has no run, no snapshot and no money."""
    ticket = json.loads((TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()[3])
    handle = await stage.start(stage.support, ticket)
    run = handle.id
    await waiting(run, stage, "approval")
    await handle.terminate()
    sold = len(stage.bought(run))
    tries = [
        Try("the same graph", "customer-support", run, [ticket], claimed=True),
        Try("another graph", ajar.name, run, [{"text": "x"}], claimed=True),
        Try("its resumption, not commanded", "customer-support", run, [marked(resume="c1")], claimed=True),
        Try("a null resumption", "customer-support", run, [marked(resume=None)], claimed=True),
        Try("an empty resumption", "customer-support", run, [marked(resume="")], claimed=True),
    ]

    stopped = [(await all_refused([one], stage))[0] for one in tries]

    assert [one.name for one in tries] == stopped
    assert sold == len(stage.bought(run))
    assert len(tries) == len(await told(run, stage))


async def test_no_hostile_id_becomes_a_run(stage: Stage, ajar: CompiledGraph) -> None:
    """Ids outside of 200 plain characters are refused, before anything is asked about them."""
    ids = {
        "a space": "a b",
        "a slash": "a/b",
        "the tenant's own stream": "admin/default",
        "out of the folder": "../../etc/passwd",
        "unicode": "läuf-" + secrets.token_hex(4),
        "a zero width space": "run\u200b1",
        "right to left": "run\u202e1",
        "201 characters": "a" * 201,
        "1,000 characters": "b" * 1000,
        "a line break": "run\n1",
        "a line break at its end": "run1\n",
        "a quote": "run'; drop table runs; --",
        "a hash": "run#1",
        "percent": "%(id)s",
        "only white space": "\u00a0",
        "fullwidth digits": "run-\uff11",
        "a control character": "run\x01",
        "a backspace": "run\x08",
        "an emoji": "run-\U0001f600",
        "NUL": "run\0x",
    }
    tries = [Try(name, ajar.name, run, [{"text": "x"}]) for name, run in ids.items()]

    stopped = await all_refused(tries, stage)

    assert [one.name for one in tries] == stopped
    ids.pop("NUL")
    assert [] == await stage.sql("select id from runs where id = any(%(ids)s)", ids=list(ids.values()))


async def test_no_graph_that_was_not_published(stage: Stage, ajar: CompiledGraph) -> None:
    """Names and versions that nobody published start nothing, whatever characters they are made of."""
    good: Json = {"text": "x"}
    names = [
        "no-such-graph",
        "ajar2",
        "Ajar",
        "läuft",
        "a" * 500,
        "ajar@1.0.0",
        "../ajar",
        "a'b",
        "a\0b",
        "%s",
        "ajar\n",
        "\u202eajar",
    ]
    versions: list[Json] = [
        "9.9.9",
        "",
        "%",
        "1.0.0\n",
        "1.0.0\0",
        "\ud800",
        "1" * 10_000,
        1,
        ["1.0.0"],
        {"a": 1},
        True,
    ]
    tries = [Try(f"graph {name[:20]!r}", name, fresh(), [good]) for name in names]
    tries += [
        Try(
            f"version {version!r:.20}",
            ajar.name,
            fresh(),
            [raw(json.dumps(marked(version=version, input=TEXT)).encode())],
        )
        for version in versions
    ]

    stopped = await all_refused(tries, stage)

    assert [one.name for one in tries] == stopped


async def test_no_argument_that_cannot_be_read(stage: Stage, ajar: CompiledGraph) -> None:
    """Arguments that are no strict JSON of the declared fields are refused at once; no run is left hanging."""
    nested = b'{"text": ' + b"[" * DEEP + b"]" * DEEP + b"}"
    args: dict[str, list[object]] = {
        "no argument": [],
        "two arguments": [{"text": "x"}, {"text": "x"}],
        "no JSON": [raw(b"{text: x}")],
        "cut off": [raw(b'{"text": "x"')],
        "nothing at all": [raw(b"")],
        "bytes": [raw(b"\x00\x01\xff", "binary/plain")],
        "JSON called binary": [raw(b'{"text": "x"}', "binary/plain")],
        "no encoding named": [raw(b'{"text": "x"}', "")],
        "another's encryption": [raw(b'{"text": "x"}', "binary/encrypted")],
        "no UTF-8": [raw(b'{"text": "\xff"}')],
        "UTF-16": [raw('{"text": "x"}'.encode("utf-16"))],
        "a byte order mark": [raw(b'\xef\xbb\xbf{"text": "x"}')],
        "50,000 levels": [raw(nested)],
        "50,000 levels of objects": [raw(b'{"a":' * DEEP + b"1" + b"}" * DEEP)],
        "1e400": [raw(b'{"text": 1e400}')],
        "NaN": [raw(b'{"text": NaN}')],
        "Infinity": [raw(b"-Infinity")],
        "2^53": [raw(b'{"text": 9007199254740992}')],
        "5,000 digits": [raw(b'{"text": ' + b"9" * 5000 + b"}")],
        "one key twice": [raw(b'{"text": "x", "text": "y"}')],
        "half a surrogate pair": [raw(b'{"text": "\\ud800"}')],
        "half a pair in a key": [raw(b'{"text": "x", "\\udfff": 1}')],
        "NUL": [raw(b'{"text": "a\\u0000b"}')],
        "NUL in a key": [raw(b'{"text": "x", "\\u0000": 1}')],
        "1.5 MB": [raw(b'{"text": "' + b"x" * 1_500_000 + b'"}')],
        "3 MB (by Temporal)": [raw(b'{"text": "' + b"x" * 3_000_000 + b'"}')],
        "a text": ["x"],
        "a list": [["x"]],
        "null": [None],
        "a number": [7],
        "a wrong type": [{"text": 7}],
        "null for text": [{"text": None}],
        "a field too many": [{"text": "x", "more": 1}],
        "no field": [{}],
        "a marked input of bad JSON": [marked(input="{")],
        "a marked input of 50,000 levels": [marked(input="[" * DEEP)],
        "a marked input with a key twice": [marked(input='{"text":"x","text":"y"}')],
        "a marked input of a wrong type": [marked(input={"text": "x"})],
        "a marked list for an input": [marked(input=["x"])],
        "marked twice": [raw(b'{"vertebra": 1, "input": "{\\"text\\":\\"x\\"}", "input": "{}"}')],
        "marked with half a surrogate pair": [raw(b'{"vertebra": 1, "input": "\\ud800"}')],
        "marked by another number": [{"vertebra": 2, "input": TEXT}],
        "a snapshot": [marked(input=TEXT, snapshot={"state": {}, "queued": []})],
        "a snapshot by reference": [marked(snapshot={"artifact": {"uri": "a", "sha256": "0" * 64, "size": 1}})],
        "an empty snapshot": [marked(input=TEXT, snapshot={})],
        "a resumption of nothing": [marked(input="", resume="c1")],
    }
    tries = [Try(name, ajar.name, fresh(), given) for name, given in args.items()]

    stopped = await all_refused(tries, stage)

    assert [one.name for one in tries] == stopped


async def test_an_input_that_grows_when_it_is_read_is_refused(stage: Stage) -> None:
    """A megabyte of numbers that becomes four once written out is refused, before Temporal would end the run for it."""
    fields = "input: {numbers: {type: list, item_type: float, required: true}, text: {type: string, default: x}}\n"
    graph = await published(stage, text_of("swells", speaks("one", write=True), input=fields))
    numbers = b'{"numbers":[' + b",".join([b"1e15"] * 199_000) + b"]}"

    stopped = await all_refused([Try("swelling", graph.name, fresh(), [raw(numbers)])], stage)

    assert ["swelling"] == stopped
