"""`vertebra demo` as `make demo` starts it, and as impatient people end it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.shop import VERTEBRA, gone, processes_in
from tests.servers import Asked, reply, serving

pytestmark = [pytest.mark.server, pytest.mark.timeout(480)]


@contextmanager
def performed(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that runs in a checkout; whatever happens, it is not left running."""
    demo = subprocess.Popen(
        [VERTEBRA, "demo"],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
        # settings of the user's own would make it another demo
        env={**os.environ, "VERTEBRA_TEMPORAL_ADDRESS": "127.0.0.1:1", "VERTEBRA_PERSON": "nobody"},
    )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.kill()
        demo.wait()
        assert demo.stdout is not None
        demo.stdout.close()


def test_everything_holds(tmp_path: Path) -> None:
    """All eight acts hold, twice in one folder the second replaces the first, and no process is left."""
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo/vertebra.toml").write_text('name = "of an earlier demo"\n')
    with performed(tmp_path) as demo:
        said, _ = demo.communicate(timeout=420)

    assert "FAILED" not in said, said
    assert 0 == demo.returncode, said
    assert "== 8/8" in said
    assert "checks held, in " in said
    for shown in ("approvals show", "kill -9", "workflow terminate", "vertebra resume", "budgets top-up", "entry 24"):
        assert shown in said
    assert [] == processes_in(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_an_interrupted_demo(tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted, terminated or killed in the middle, it takes Postgres, Temporal and worker with it."""
    with performed(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "completed" in line:
                break
        alive = processes_in(tmp_path)
        demo.send_signal(number)
        demo.wait(90)

    assert 4 <= len(alive)
    assert demo.returncode in (130, 128 + number, -number)
    assert gone(tmp_path), processes_in(tmp_path)


KEY = "sk-canary-of-the-live-demo"


def invented(asked: Asked) -> bytes:
    """A model that fills in whatever form it is given."""
    body = json.loads(asked.body)
    form = body["response_format"]["json_schema"]["schema"]
    completion = {
        "id": "chatcmpl-1",
        "model": body["model"],
        "choices": [{"message": {"content": json.dumps(filled(form))}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000},
    }
    return reply(body=json.dumps(completion).encode(), headers={"content-type": "application/json"})


def filled(form: dict[str, Any]) -> object:
    if "enum" in form:
        return form["enum"][0]
    made = {"object": {}, "array": [], "string": f"made up, with {KEY} in it", "number": min(form.get("maximum", 0), 1)}
    if form["type"] == "object":
        return {name: filled(field) for name, field in form["properties"].items()}
    return made[form["type"]]


async def test_live_asks_a_real_model(tmp_path: Path) -> None:
    """Estimate and cap come first, then the tickets are asked over the wire with the key, which is found nowhere."""
    async with serving(invented) as server:
        demo = await asyncio.create_subprocess_exec(
            VERTEBRA, "demo", "--live", "--endpoint", f"http://127.0.0.1:{server.port}/v1",
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
            env={**os.environ, "OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": ""},
        )  # fmt: skip
        try:
            out, _ = await asyncio.wait_for(demo.communicate(), 240)
        finally:
            if demo.returncode is None:
                demo.kill()
                await demo.wait()
    said = out.decode()

    assert 0 == demo.returncode, said
    assert said.index("estimate  $0.") < said.index("cap       $1.50") < said.index("$ vertebra run")
    assert "FAILED" not in said
    assert KEY not in said
    assert {"/v1/chat/completions"} == {asked.path for asked in server.asked}
    assert {f"Bearer {KEY}"} == {asked.headers["authorization"] for asked in server.asked}
    assert f"was asked {len(server.asked)} times" in said
    assert [] == processes_in(tmp_path)


def test_live_without_a_key_is_refused(tmp_path: Path) -> None:
    """`make demo LIVE=1` without a key is a wrong use, told in words before anything is made."""
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}

    found = subprocess.run(
        [VERTEBRA, "demo", "--live"], cwd=tmp_path, capture_output=True, text=True, check=False, env=environ
    )

    assert 2 == found.returncode
    assert "set ANTHROPIC_API_KEY or OPENAI_API_KEY" in found.stderr
    assert [] == list(tmp_path.iterdir())


def test_a_folder_of_somebody_elses_is_not_removed(tmp_path: Path) -> None:
    """A `.demo` that no demo has made stays as it is."""
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo/diary.txt").write_text("dear diary")

    found = subprocess.run([VERTEBRA, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 2 == found.returncode
    assert "this is no folder of an earlier demo" in found.stderr
    assert "dear diary" == (tmp_path / ".demo/diary.txt").read_text()
