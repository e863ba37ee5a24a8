"""The guide's program publishes a graph of Python, and it runs."""

from __future__ import annotations

import ast
import inspect
import re
import types
from pathlib import Path
from shutil import copytree

import pytest

from tests.integration.runs.waits import ended
from tests.stage import TEMPLATE, Stage
from vertebra.workers.compiling import Compiled

pytestmark = pytest.mark.server

PAGE = Path(__file__).parents[3] / "docs/write-a-graph.md"
PROGRAM = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
DSN = "postgresql://vertebra_api@db/vertebra"


async def test_the_page_publishes_a_graph_of_python_that_runs(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line by line as it stands there, but for the address of the database; a second time nothing changes."""
    project = tmp_path / "support"
    copytree(TEMPLATE, project)
    people = project / ".vertebra/keys/people"
    people.mkdir(parents=True)
    key = people / "ada.key"
    key.touch(0o600)
    key.write_text(stage.keys["ada"].secret.hex() + "\n")
    monkeypatch.chdir(tmp_path)
    assert DSN in PROGRAM

    compiled = await _run(PROGRAM.replace(DSN, str(stage.api.conninfo)))
    await _run(PROGRAM.replace(DSN, str(stage.api.conninfo)))
    handle = await stage.start(compiled.graph, {"ticket": "My invoice is wrong."})
    await ended(handle, stage)

    assert [compiled.graph.digest, "published", compiled.graph.digest, "unchanged"] == capsys.readouterr().out.split()
    assert "sort-a-ticket" == compiled.graph.name
    result = await handle.result()
    assert isinstance(result, dict)
    assert ["kind"] == list(result)


async def _run(program: str) -> Compiled:
    names: dict[str, object] = {}
    code = compile(program, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    coroutine = types.FunctionType(code, names)()
    assert inspect.iscoroutine(coroutine)
    await coroutine
    compiled = names["compiled"]
    assert isinstance(compiled, Compiled)
    return compiled
