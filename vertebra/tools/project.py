"""The tools of a project: files that are imported in the sandbox only, by a child that reports what they define."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from vertebra.policies.fields import nearest
from vertebra.schemas.canonical import canonical_bytes, digest_of, json_text
from vertebra.schemas.errors import BadTool, Complaints, GraphError, ToolError
from vertebra.schemas.graph import Effect, Permission
from vertebra.schemas.record import Recorded
from vertebra.schemas.tool import TOOL_NAME, Job, Limits, ProjectTool, ToolSpec
from vertebra.tools.checks import check_schemas
from vertebra.tools.contract import seconds_of
from vertebra.tools.host_client import ToolHost
from vertebra.tools.registry import builtin

FOLDER = "tools"
MAX_FILE_BYTES = 256 * 1024
LOOK_S = 10
"""How long a file may take to be imported."""
_DESCRIBE = Path(__file__).with_name("sandbox") / "describe.py"
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_EFFECTS = "pure, idempotent, keyed, compensable, irreversible"


class _Terms(Recorded):
    """What stands in `@tool(...)`; a project's tool runs in the sandbox and is given no secrets."""

    model_config = ConfigDict(extra="forbid")

    effect: Effect
    runs: Literal["sandbox"] = "sandbox"
    permissions: tuple[Permission, ...] = ()
    timeout: str | int = "30s"
    cost_microusd: int = Field(default=0, ge=0)
    rate_limit: str | None = None
    security_level: Literal["low", "medium", "high"] = "medium"
    name: str | None = None


class _Told(Recorded):
    terms: dict[str, JsonValue]
    function: str
    line: int
    description: str
    input_schema: dict[str, JsonValue]
    output_schema: dict[str, JsonValue]


class _Failed(Recorded):
    line: int
    type: str
    message: str


class _Report(Recorded):
    tools: tuple[_Told, ...] = ()
    error: _Failed | None = None


_ANSWER = ToolSpec(
    name="describe",
    description="Reports the tools of a file.",
    input_schema={"type": "object"},
    output_schema={"type": "object"},
    effect="pure",
    runs="sandbox",
    timeout_s=LOOK_S,
)


def tool_files(project: Path) -> list[Path]:
    """The files of `tools/` that may define tools, in order of name; those that begin with `_` do not."""
    return sorted(path for path in (project / FOLDER).glob("*.py") if path.is_file() and not path.name.startswith("_"))


def source_of(project: Path, path: Path) -> str:
    """The text of a file. Raises BadTool."""
    shown = path.relative_to(project).as_posix()
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")  # Python itself passes over a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadTool(f"cannot be read: {why}", at=f"{shown}:1") from None
    if len(data) > MAX_FILE_BYTES or "\0" in text:
        raise BadTool(f"has more than {MAX_FILE_BYTES} bytes, or holds NUL", at=f"{shown}:1", do="make it smaller")
    return text


async def describe_all(
    project: Path, files: Sequence[Path], host: ToolHost, aside: list[GraphError] | None = None
) -> tuple[ProjectTool, ...]:
    """Every tool of these files. Raises Complaints with everything that is wrong, each at its file and line.

    A file that is wrong, and tools of one name, are left out where there is a list for what is wrong with them.
    """
    found: dict[str, ProjectTool] = {}
    doubtful: set[str] = set()
    wrong: list[GraphError] = [] if aside is None else aside
    for path in files:
        try:
            told = await describe_file(project, path, host)
        except GraphError as error:
            wrong.append(error)
            continue
        for one in told:
            taken = "vertebra's own" if one.spec.name in builtin() else None
            taken = found[one.spec.name].at if one.spec.name in found else taken
            if taken is not None:
                message = f"the name {one.spec.name!r} is taken by {taken}"
                wrong.append(BadTool(message, at=one.at, do="give the tool another name"))
                doubtful.add(one.spec.name)
            found.setdefault(one.spec.name, one)
    if wrong and aside is None:
        raise Complaints(wrong)
    return tuple(found[name] for name in sorted(set(found) - doubtful))


async def describe_file(project: Path, path: Path, host: ToolHost) -> tuple[ProjectTool, ...]:
    """The tools of one file, as the sandbox reports them. Raises BadTool, naming file and line."""
    shown, source = path.relative_to(project).as_posix(), source_of(project, path)
    job = Job(
        id=f"describe.{digest_of(source.encode())}.{host.fresh()}",
        tool="describe",
        function="describe",
        source=_DESCRIBE.read_text(encoding="utf-8"),
        arguments=json_text({"source": source, "file": shown}),
        limits=Limits(wall_s=LOOK_S, cpu_s=LOOK_S),
    )
    try:
        answer = await host.run(job, _ANSWER)
        report = _Report.model_validate_json(answer.answer or "{}")
    except ToolError as error:
        do = error.do or "a file of tools defines functions, and does nothing when it is imported"
        raise BadTool(f"it cannot be imported: {_said(error)}", at=f"{shown}:1", do=do) from None
    except ValidationError:
        raise BadTool("what it reports of its tools is no report", at=f"{shown}:1") from None
    if report.error is not None:
        raise _failure(report.error, shown)
    return tuple(_tool(told, source, shown) for told in report.tools)


def _said(error: ToolError) -> str:
    return re.sub(r"^'describe'(?: runs code, and |: )", "", error.message)


def _failure(error: _Failed, shown: str) -> BadTool:
    at = f"{shown}:{max(1, error.line)}"
    if not error.type:
        return BadTool(error.message, at=at)
    do = None
    if error.type in ("ImportError", "ModuleNotFoundError"):
        do = "a tool may import the standard library and vertebra.tools.contract only"
    return BadTool(f"it cannot be imported: {error.type}: {error.message}", at=at, do=do)


def _tool(told: _Told, source: str, shown: str) -> ProjectTool:
    at = f"{shown}:{max(1, told.line)}"
    terms = _terms(told, at)
    name = terms.name or told.function
    if not re.fullmatch(TOOL_NAME, name):
        raise BadTool(f"{name!r} is no tool name", at=at, do="use lower case letters, digits and _, at most 63")
    if not told.description:
        raise BadTool("it has no docstring", at=at, do="describe in its first line what the tool does: models read it")
    try:
        spec = ToolSpec(
            name=name,
            description=told.description[:1000],
            input_schema=told.input_schema,
            output_schema=told.output_schema,
            permissions=tuple(sorted({"execute_tools", *terms.permissions})),
            effect=terms.effect,
            runs="sandbox",
            timeout_s=seconds_of(at, terms.timeout),
            cost_microusd=terms.cost_microusd,
            rate_limit=terms.rate_limit,
            security_level=terms.security_level,
            function=told.function,
            source=digest_of(source.encode()),
        )
        canonical_bytes(spec.canonical)
    except (ValidationError, ValueError) as error:
        raise BadTool(f"its definition is wrong: {str(error).splitlines()[0]}", at=at) from None
    if _refers(spec.input_schema) or _refers(spec.output_schema):
        # never told by an honest file: a few schemas that refer to each other twice keep a worker for hours
        raise BadTool("its schemas refer to others", at=at)
    check_schemas(spec)
    return ProjectTool(spec=spec, source=source, at=at)


def _refers(schema: JsonValue) -> bool:
    """Whether a schema refers to another one. A field may have such a name, whose schema is no text."""
    if isinstance(schema, list):
        return any(map(_refers, schema))
    if not isinstance(schema, dict):
        return False
    return any(isinstance(schema.get(name), str) for name in _REFERENCES) or any(map(_refers, schema.values()))


def _terms(told: _Told, at: str) -> _Terms:
    try:
        return _Terms.model_validate(told.terms)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        if name == "effect":
            raise BadTool("it has no known effect class", at=at, do=f"say @tool(effect=...): {_EFFECTS}") from None
        do = {
            "runs": "a project's tool runs in the sandbox; leave it out",
            "secrets": "a project's tool is given no secrets; send requests from an http node",
        }.get(name)
        if first["type"] == "extra_forbidden" and do is None:
            raise BadTool(f"@tool(...) takes no {name!r}", at=at, do=nearest(name, _Terms.model_fields)) from None
        raise BadTool(f"@tool(...) has a wrong {name!r}: {first['msg']}", at=at, do=do) from None
