"""The Go client of the documents: a run is started and its output read without a line of ours."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.runs.test_whole_run import ticket
from tests.stage import Stage
from vertebra.services.options import ServiceOptions

GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
SOURCE = Path(__file__).parents[3] / "deploy/go"
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(GO is None, reason="not run: no go (golang-go)"),
    pytest.mark.skipif(
        not {"VERTEBRA_TEST_GO", "VERTEBRA_TEST_CLUSTER"} & set(os.environ),
        reason="not run: no wish for it, for Go takes minutes to build it (make test-go)",
    ),
]


@pytest.mark.timeout(900)
async def test_ten_lines_of_go_start_a_run_and_read_its_output(stage: Stage, tmp_path: Path) -> None:
    """A graph is a workflow type for Temporal's own Go client, and its output is the result."""
    program = await asyncio.to_thread(built, tmp_path)
    run = f"from-go-{os.getpid()}"
    words = [str(program), stage.client.service_client.config.target_host, stage.client.namespace]

    done = await asyncio.to_thread(said, [*words, stage.support.name, run, json.dumps(ticket(1))])

    assert 0 == done.returncode, done.stderr
    assert "answered" == json.loads(done.stdout)["status"]
    [row] = await stage.sql("select state, principal from runs where id = %(id)s", id=run)
    assert ("completed", "svc-support") == (row["state"], row["principal"])


def said(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=90)


def built(folder: Path) -> Path:
    """The program, from a copy of its source and caches that go away with it."""
    source = folder / "source"
    shutil.copytree(SOURCE, source)
    own = {"GOPATH": str(folder / "go"), "GOCACHE": str(folder / "cache"), "GOFLAGS": "-modcacherw -mod=readonly"}
    env = {**ServiceOptions.from_environ(os.environ).build_env, "PATH": os.environ["PATH"], **own}
    done = subprocess.run(
        [GO or "go", "build", "-o", "start", "."], cwd=source, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode and "dial tcp" in done.stderr:
        pytest.skip("not run: no network to build it over")
    assert 0 == done.returncode, done.stderr[-3000:]
    return source / "start"
