"""The example of docs/write-a-tool.md is a tool, and does what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydantic import JsonValue

from vertebra.tools.call import call_project_tool
from vertebra.tools.host_client import ToolHost
from vertebra.tools.project import describe_all, tool_files

PAGE = Path(__file__).parents[3] / "docs" / "write-a-tool.md"

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)")


async def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    """What a reader copies is reported and gives its answer."""
    [example] = re.findall(r"```python\n# (tools/\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "tools").mkdir()
    (tmp_path / example[0]).write_text(example[1])

    async with ToolHost() as host:
        [made] = await describe_all(tmp_path, tool_files(tmp_path), host)
        arguments: JsonValue = {"level": "gold", "years": 5}
        found = await call_project_tool(made.spec, made.source, arguments, host=host, job_id="page")

    assert ("discount", {"percent": 0.25, "reasons": ["gold"]}) == (made.spec.name, found.value)
