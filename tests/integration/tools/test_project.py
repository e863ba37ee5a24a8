"""Tools of a project: what a file is told that crashes, hangs, floods or lies, and that a pin keeps its text."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from vertebra.schemas.errors import BadToolOutput, Complaints, GraphError, JobFailed, ToolError, ToolTimeout
from vertebra.schemas.tool import ProjectTool
from vertebra.tools import project as module
from vertebra.tools.call import call_project_tool
from vertebra.tools.host_client import ToolHost
from vertebra.tools.project import describe_all, describe_file, tool_files

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("bwrap") is None, reason="not run: no bwrap (Debian: bubblewrap)"
)

HEAD = "from vertebra.tools.contract import tool\n"
GOOD = '''
import dataclasses
from typing import Literal
from vertebra.tools.contract import tool

RATES = {"gold": 0.2, "plain": 0.05}

@dataclasses.dataclass
class Discount:
    """What is taken off."""
    percent: float
    reasons: list[str]

@tool(effect="pure", timeout="50s", cost_microusd=7)
def discount(level: Literal["gold", "plain"], years: int = 0) -> Discount:
    """Say what a customer of a level gets off.

    The rest of the text is nobody's.
    """
    return Discount(RATES[level] + years / 100, [level])
'''


@pytest.fixture(scope="module")
async def host() -> AsyncIterator[ToolHost]:
    async with ToolHost() as started:
        yield started


async def described(folder: Path, host: ToolHost, text: str) -> tuple[ProjectTool, ...]:
    path = folder / "tools" / "own.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return await describe_file(folder, path, host)


async def called(folder: Path, host: ToolHost, body: str, returns: str = "int", **more: str) -> object:
    """What a tool with this body answers."""
    timeout = more.get("timeout", "1m")
    text = f"{HEAD}@tool(effect='pure', timeout='{timeout}')\ndef act() -> {returns}:\n    'Act.'\n    {body}\n"
    [made] = await described(folder, host, text)
    found = await call_project_tool(made.spec, made.source, {}, host=host, job_id=host.fresh())
    return found.value


async def test_a_tool_is_reported_and_runs(tmp_path: Path, host: ToolHost) -> None:
    """Name, schemas, terms and line come from the sandbox, and a call gives the checked answer."""
    [made] = await described(tmp_path, host, GOOD)

    found = await call_project_tool(made.spec, made.source, {"level": "gold", "years": 3}, host=host, job_id="good-1")

    assert ("tools/own.py:14", "discount", "pure", 50, 7) == (
        made.at,
        made.spec.name,
        made.spec.effect,
        made.spec.timeout_s,
        made.spec.cost_microusd,
    )
    assert "Say what a customer of a level gets off." == made.spec.description
    assert {"percent": 0.23, "reasons": ["gold"]} == found.value
    assert ["level"] == made.spec.input_schema["required"]


async def test_a_byte_order_mark_is_passed_over(tmp_path: Path, host: ToolHost) -> None:
    """A file that an editor saved with a mark in front is the file without it, as for Python."""
    [plain] = await described(tmp_path, host, GOOD)
    [marked] = await described(tmp_path, host, "\ufeff" + GOOD)

    assert plain.spec.digest == marked.spec.digest


async def test_a_changed_file_is_another_tool(tmp_path: Path, host: ToolHost) -> None:
    """The pin covers the text, so an edit of a body alone gives another one; the old text goes on as it was."""
    [old] = await described(tmp_path, host, GOOD)
    [new] = await described(tmp_path, host, GOOD.replace("0.2,", "0.5,"))

    arguments: JsonValue = {"level": "gold"}
    first = await call_project_tool(old.spec, old.source, arguments, host=host, job_id="old-1")
    second = await call_project_tool(new.spec, new.source, arguments, host=host, job_id="new-1")

    assert old.spec.digest != new.spec.digest
    assert [0.2, 0.5] == [json.loads(json.dumps(one.value))["percent"] for one in (first, second)]


BAD = {
    "no Python": ("def (:\n", ":1: it cannot be imported: SyntaxError"),
    "a crash": ("x = 1\ny = 0\nx / y\n", ":3: it cannot be imported: ZeroDivisionError"),
    "a missing library": ("import os\nimport requests\n", ":2: it cannot be imported: ModuleNotFoundError"),
    "an exit": ("import sys\n\nsys.exit(3)\n", ":3: it cannot be imported: SystemExit"),
    "a hard exit": ("import os\nos._exit(0)\n", ":1: it cannot be imported: Killed"),
    "a hang": ("while True: pass\n", ":1: it cannot be imported"),
    "a flood": ("while True: print('x' * 10000)\n", ":1: it cannot be imported: TooMuchOutput"),
    "a fork": ("import os\nos.fork()\n", ":2: it forks a process while it is loaded"),
    "a fork bomb": ("import os\nwhile True: os.fork()\n", ":"),
    "no effect": (f"{HEAD}@tool()\ndef act() -> int:\n    'Act.'\n", ":2: it has no known effect class"),
    "another effect": (f"{HEAD}@tool(effect='safe')\ndef act() -> int:\n    'Act.'\n", ":2: it has no known effect"),
    "no terms": (
        f"{HEAD}@tool\ndef act() -> int:\n    'Act.'\n",
        ":2: it cannot be imported: TypeError: write it with",
    ),
    "a mistyped term": (
        f"{HEAD}@tool(effect='pure', timout='5s')\ndef act() -> int:\n    'Act.'\n",
        ":2: @tool(...) takes no 'timout'; did you mean 'timeout'?",
    ),
    "the worker": (f"{HEAD}@tool(effect='pure', runs='worker')\ndef act() -> int:\n    'Act.'\n", "in the sandbox"),
    "secrets": (
        f"{HEAD}@tool(effect='pure', secrets=['secret://env/PATH'])\ndef act() -> int:\n    'Act.'\n",
        "is given no secrets",
    ),
    "no docstring": (f"{HEAD}@tool(effect='pure')\ndef act() -> int: ...\n", ":2: it has no docstring"),
    "no answer type": (f"{HEAD}@tool(effect='pure')\ndef act():\n    'Act.'\n", ":2: it does not say what it returns"),
    "no argument type": (f"{HEAD}@tool(effect='pure')\ndef act(x) -> int:\n    'Act.'\n", "'x' has no type"),
    "many arguments": (
        f"{HEAD}@tool(effect='pure')\ndef act(*x: int) -> int:\n    'Act.'\n",
        "cannot be given by name",
    ),
    "an odd type": (f"{HEAD}@tool(effect='pure')\ndef act(x: set) -> int:\n    'Act.'\n", "'set' is no type"),
    "an unknown type": (
        f"{HEAD}@tool(effect='pure')\ndef act(x: 'Odd') -> int:\n    'Act.'\n",
        "'Odd', which the file",
    ),
    "a name": (f"{HEAD}@tool(effect='pure', name='A B')\ndef act() -> int:\n    'Act.'\n", "no tool name"),
    "a timeout": (f"{HEAD}@tool(effect='pure', timeout='9h')\ndef act() -> int:\n    'Act.'\n", "no timeout"),
    "a forged report": (
        "import sys, os, json\n"
        "sys._getframe(1).f_globals['_told'] = lambda *_: {'name': 'x'}\n"
        f"{HEAD}@tool(effect='pure')\ndef act() -> int:\n    'Act.'\n",
        "is no report",
    ),
    "schemas that take hours": (
        "import json\ntold = json.dumps\n"
        "twice = lambda name: {'anyOf': [{'$ref': '#/$defs/' + name}, {'$ref': '#/$defs/' + name}]}\n"
        "parts = {f's{at}': twice(f's{at + 1}') for at in range(40)} | {'s40': {'type': 'string'}}\n"
        "schema = {'type': 'object', 'properties': {'x': {'$ref': '#/$defs/s0'}}, '$defs': parts}\n"
        "act = {'terms': {'effect': 'pure'}, 'function': 'act', 'line': 1, 'description': 'Act.'}\n"
        "act |= {'input_schema': schema, 'output_schema': {}}\n"
        "json.dumps = lambda *_, **__: told({'tools': [act]})\n",
        "its schemas refer to others",
    ),
}


ENDLESS = ("a hang", "a fork bomb")


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_file_is_one_clear_complaint(
    tmp_path: Path, host: ToolHost, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file does when it is imported, its author reads file, line and what is wrong; nothing else is hurt."""
    text, said = BAD[name]

    with monkeypatch.context() as patch, pytest.raises(GraphError) as refused:
        patch.setattr(module, "LOOK_S", 3 if name in ENDLESS else 120)  # a busy machine takes a while to start one
        await described(tmp_path, host, text)

    assert "tools/own.py:" in str(refused.value)
    assert said in str(refused.value)
    assert 1 == len(await described(tmp_path, host, GOOD))


@pytest.mark.parametrize(
    ("body", "returns", "kind"),
    [
        ("while True: pass", "int", ToolTimeout),
        ("import os\n    while True: os.fork()", "int", ToolError),
        ("while True: print('x' * 100000)", "int", JobFailed),
        ("import os; os._exit(0)", "int", JobFailed),
        ("raise ValueError('no')", "int", JobFailed),
        ("return 'text'", "int", BadToolOutput),
        ("return None", "int", BadToolOutput),
        ("return float('nan')", "float", ToolError),
        ("return {'a': {1, 2}}", "dict", JobFailed),
        ("return 'x' * 2_000_000", "str", ToolError),
        ("return [0] * 10**10", "list", ToolError),
        ("import socket; socket.create_connection(('1.1.1.1', 80), 1); return 1", "int", JobFailed),
        ("open('/etc/shadow').read(); return 1", "int", JobFailed),
        ("import os; return len(os.environ['VERTEBRA_GATE_DSN'])", "int", JobFailed),
    ],
)
async def test_a_bad_tool_is_a_named_failure(
    tmp_path: Path, host: ToolHost, body: str, returns: str, kind: type[Exception]
) -> None:
    """A hang, fork bomb, flood, exit, lie about the answer or try to get out ends that call, and no other."""
    with pytest.raises(kind):
        await called(tmp_path, host, body, returns, timeout="2s" if "while True" in body else "1m")

    assert 1 == await called(tmp_path, host, "return 1")


async def test_every_mistake_of_every_file_is_told(tmp_path: Path, host: ToolHost) -> None:
    """One broken file hides no other, and two tools of one name or of vertebra's are told; aside, they are left out."""
    folder = tmp_path / "tools"
    folder.mkdir()
    one = f"{HEAD}@tool(effect='pure')\ndef NAME() -> int:\n    'Act.'\n    return 1\n"
    for name, text in {
        "a.py": one.replace("NAME", "act"),
        "b.py": one.replace("NAME", "act"),
        "c.py": one.replace("NAME", "send_email"),
        "d.py": "1 / 0\n",
        "_hidden.py": "1 / 0\n",
    }.items():
        (folder / name).write_text(text)

    with pytest.raises(Complaints) as refused:
        await describe_all(tmp_path, tool_files(tmp_path), host)

    assert ["tools/b.py:2", "tools/c.py:2", "tools/d.py:1"] == [one.at for one in refused.value.complaints]
    aside: list[GraphError] = []
    (folder / "e.py").write_text(one.replace("NAME", "sound"))
    assert ["sound"] == [tool.spec.name for tool in await describe_all(tmp_path, tool_files(tmp_path), host, aside)]
    assert [str(mistake) for mistake in refused.value.complaints] == [str(mistake) for mistake in aside]
