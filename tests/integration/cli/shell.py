"""A shell beside a stage: commands run in this process, in a thread, against the stage's servers."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import WorkflowHandle

from tests.integration.runs.waits import row_of, waiting
from tests.stage import Stage
from vertebra.cli.main import main
from vertebra.schemas.canonical import Json
from vertebra.schemas.graph import CompiledGraph
from vertebra.store.transaction import Row

Handle = WorkflowHandle[object, object]
WAKE_S = 60.0
"""How long a command tries to wake its run: after the usual two seconds a keeper would do it, and here is none."""


@dataclass(frozen=True)
class Said:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        """The one document on standard output."""
        value: Json = json.loads(self.out)
        return value

    @property
    def fields(self) -> dict[str, Json]:
        """The same, where it is an object."""
        assert isinstance(self.json, dict), self
        return self.json


@dataclass(frozen=True)
class Shell:
    """A project folder whose settings name the stage's servers."""

    stage: Stage
    project: Path
    environ: Mapping[str, str]
    """Set for each command only: other tests' commands are of another project."""

    async def call(self, *words: str) -> Said:
        """One command, as `ada` unless it says otherwise."""
        said = await asyncio.to_thread(self._call, words)
        assert "Traceback" not in said.err, said
        return said

    async def done(self, *words: str) -> Said:
        """A command that must work."""
        said = await self.call(*words)
        assert 0 == said.code, said
        return said

    def _call(self, words: tuple[str, ...]) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.environ.items():
                patch.setenv(name, value)
            patch.setattr("vertebra.client.temporal._WAKE_S", WAKE_S)
            code = self._main(words)
        return Said(code, out.getvalue(), err.getvalue())

    def _main(self, words: tuple[str, ...]) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["--project", str(self.project), *words])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    async def start(self, graph: CompiledGraph, wait: str) -> tuple[Handle, Row]:
        """A run of this graph, and what it waits for."""
        handle = await self.stage.start(graph, {"text": "hello", "email": "mia@example.com"})
        return handle, await waiting(handle.id, self.stage, wait)

    async def ends(self, handle: Handle) -> Row:
        """The row of a run that ends by itself."""
        for _ in range(1200):
            row = await row_of(handle.id, self.stage)
            if row["ended_at"] is not None:
                return row
            await asyncio.sleep(0.05)
        raise AssertionError(f"{handle.id} never ended")

    async def result(self, handle: Handle) -> dict[str, Json]:
        """The output of a run that completes."""
        row = await self.ends(handle)
        assert "completed" == row["state"], row
        value: Json = json.loads(bytes(row["output"]))
        assert isinstance(value, dict)
        return value
