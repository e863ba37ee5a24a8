"""Secrets that a worker holds while it runs: after a run none of them stands anywhere but where it was put."""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Iterator

import pytest

from tests.attacks.graphs import published, speaks, text_of
from tests.attacks.test_spending import priced
from tests.integration.runs.waits import ended, waiting
from tests.integration.workers.collector import collecting
from tests.integration.workers.desk import office
from tests.stage import AUDIT_SECRET, SEAL_SECRET, TEMPLATE, Stage
from vertebra.providers.registry import DEFAULT_MODELS
from vertebra.schemas.ids import trace_id
from vertebra.workers.keeper.duty import Times
from vertebra.workers.keeper.spans import spans_duty
from vertebra.workers.telemetry import genai
from vertebra.workers.telemetry.otlp import Otlp

pytestmark = [pytest.mark.attack, pytest.mark.server]


def forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it might be written down."""
    yield secret
    yield secret.hex().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")


async def everything(stage: Stage) -> dict[str, bytes]:
    """Every table of the database, as text."""
    tables = await stage.sql("select tablename from pg_tables where schemaname = 'public'")
    found = {}
    for table in tables:
        async with stage.owner.connection() as connection:
            rows = await (await connection.execute(f"select * from {table['tablename']}")).fetchall()
        found[table["tablename"]] = b"\n".join(_plain(value) for row in rows for value in row)
    return found


def _plain(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


async def spans_of(stage: Stage, *runs: str) -> bytes:
    """All that a collector is sent, once it was told of each of these runs."""
    with collecting() as collector:
        sink = Otlp(collector.url, genai.resource("0", stage.world.worker))
        for _ in range(40):
            await stage.sql("update exports set due_at = now() where run = any(%(runs)s)", runs=list(runs))
            await spans_duty(sink).do(office(stage, Times(spans_s=0)))
            if all(collector.of(trace_id(run)) for run in runs):
                break
        await sink.aclose()
    assert all(collector.of(trace_id(run)) for run in runs)
    return b"".join(collector.bodies)


@pytest.mark.parametrize(("provider", "variable"), [("anthropic", "ANTHROPIC_API_KEY"), ("openai", "OPENAI_API_KEY")])
async def test_no_secret_is_found_again(
    stage: Stage,
    echo: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    variable: str,
) -> None:
    """A vendor's key that it says back, keys of people, seal and audit: in no table, history, log, mail or span."""
    caplog.set_level(logging.DEBUG)
    canary = f"sk-canary-{secrets.token_hex(16)}"
    monkeypatch.setenv(variable, canary)
    model = DEFAULT_MODELS[provider]
    text = text_of(f"canary-{provider}", speaks("canary", extra=", retry: {max_attempts: 1}"))
    text = text.replace("scripted, model: small", f"{provider}, model: {model}, endpoint: '{echo}'")
    failing = await stage.start(await published(priced(stage, provider, model), text), {"text": "x"})
    ticket = json.loads((TEMPLATE / "tickets.jsonl").read_text(encoding="utf-8").splitlines()[0])
    fine = await stage.start(stage.support, ticket)
    await ended(fine, stage)
    blocked = await waiting(failing.id, stage, "blocked")

    places = await everything(stage)
    for handle in (failing, fine):
        history = await handle.fetch_history()
        places[f"history of {handle.id}"] = b"\n".join(event.SerializeToString() for event in history.events)
    places["logs"] = caplog.text.encode()
    places["mails"] = b"".join(path.read_bytes() for path in stage.world.maildir.rglob("*") if path.is_file())
    places["sales"] = stage.sales.read_bytes()
    places["spans"] = await spans_of(stage, failing.id, fine.id)
    places["world"] = repr(stage.world).encode()
    hidden = {"a vendor's key": canary.encode(), "the audit key": AUDIT_SECRET, "the seal key": SEAL_SECRET}
    hidden |= {f"the key of {name}": key.secret for name, key in stage.keys.items()}

    hits = [
        f"{name} in {place}"
        for name, secret in hidden.items()
        for place, data in places.items()
        if any(form in data for form in forms(secret))
    ]

    assert "ProviderBadKey" == json.loads(bytes(blocked["error"]))["type"]
    assert b"***" in bytes(blocked["error"])
    assert 12 <= len([place for place, data in places.items() if data])
    assert [] == hits
