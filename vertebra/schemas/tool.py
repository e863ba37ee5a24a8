"""Tools as values: what one declares, the job that runs it in the sandbox, and what comes back."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from vertebra.schemas.canonical import Canonical, Digest, digest, json_text
from vertebra.schemas.errors import VertebraError
from vertebra.schemas.graph import Effect, Permission
from vertebra.schemas.record import Recorded

ANSWER_BYTES = 1_000_000
"""The largest answer of a tool, as JSON text."""
PRINTED_BYTES = 64 * 1024
"""What is kept of the text that sandboxed code prints."""
_SHOWN_CHARS = 4000
TOOL_NAME = r"[a-z][a-z0-9_]{0,62}"
RATE_LIMIT = r"[1-9][0-9]{0,8}/(second|minute|hour|day)"

Runs = Literal["worker", "sandbox"]
SecurityLevel = Literal["low", "medium", "high"]
MemoryGuard = Literal["cgroup", "address space only"]


class ToolSpec(Recorded):
    """What a tool says about itself. Its digest is the pin that a compiled graph carries."""

    v: int = 1
    name: Annotated[str, Field(pattern=f"^{TOOL_NAME}$")]
    description: str
    """One line, read by models and approvers."""
    input_schema: dict[str, JsonValue]
    """JSON Schema 2020-12 of the arguments, an object without further properties."""
    output_schema: dict[str, JsonValue]
    permissions: tuple[Permission, ...] = ("execute_tools",)
    """Sorted; what a context must hold for each call."""
    effect: Effect
    runs: Runs
    timeout_s: Annotated[int, Field(ge=1, le=3600)] = 30
    cost_microusd: Annotated[int, Field(ge=0)] = 0
    """What one call is charged to the budget."""
    rate_limit: Annotated[str, Field(pattern=f"^{RATE_LIMIT}$")] | None = None
    security_level: SecurityLevel = "medium"
    secrets: tuple[str, ...] = ()
    """Names of the secrets that one call may be given."""
    function: str | None = None
    """Of a project's tool: the function of its file."""
    source: Digest | None = None
    """Of a project's tool: the digest of its file's text, which is stored beside the definition."""

    @property
    def canonical(self) -> Canonical:
        """All fields; the two schemas as JSON text, because they may hold floats."""
        plain: dict[str, Canonical] = self.model_dump(mode="json", exclude={"input_schema", "output_schema"})
        if self.source is None:
            # the pins of vertebra's own tools are older than these fields
            plain = {name: value for name, value in plain.items() if name not in ("function", "source")}
        schemas = {"input_schema": json_text(self.input_schema), "output_schema": json_text(self.output_schema)}
        return plain | schemas

    @classmethod
    def of(cls, data: bytes) -> ToolSpec:
        """The spec whose canonical bytes these are, as a graph pins it."""
        plain = json.loads(data)
        schemas = {name: json.loads(plain[name]) for name in ("input_schema", "output_schema")}
        return cls.model_validate(plain | schemas)

    @property  # not cached: a copy of the model would carry the digest of its original
    def digest(self) -> Digest:
        """The tool pin: a graph that carries another one was compiled for another tool."""
        return digest(self.canonical)


class ProjectTool(Recorded):
    """A tool that a file of the project defines."""

    spec: ToolSpec
    source: str = Field(repr=False)
    """The text of its file: what runs, whatever the file says by then."""
    at: str
    """`file:line`."""


class Limits(Recorded):
    """What one job may use in the sandbox."""

    wall_s: int = 30
    cpu_s: int = 10
    memory_bytes: int = 512 * 1024 * 1024
    """Of the whole process tree, where a control group can be made."""
    address_bytes: int = 1024 * 1024 * 1024
    """Of each process, always."""
    processes: int = 64
    files: int = 128
    file_bytes: int = 64 * 1024 * 1024
    """Of each file, and of each of the two writable folders."""
    answer_bytes: int = ANSWER_BYTES
    printed_bytes: int = PRINTED_BYTES


class Job(Recorded):
    """One run of a sandboxed tool: everything the tool host needs, since it can look nothing up."""

    v: int = 1
    id: str
    """Used once: a host refuses a second job of the same id."""
    tool: str
    function: str
    """The function of `source` that is the tool."""
    source: str
    """The text of the tool's file. It may use the standard library only."""
    arguments: str
    """JSON text of an object, already checked against the tool's schema."""
    secrets: dict[str, str] = Field(default={}, repr=False)
    """Name to value, only those that the tool declares."""
    limits: Limits = Limits()


class JobError(Recorded):
    """Why a job gave no answer. `type` is the exception's name, or `Timeout`, `TooMuchOutput`, `Killed`, `Refused`."""

    type: str
    message: str


class JobAnswer(Recorded):
    """What became of a job: the tool's answer or an error, and what it printed (bounded)."""

    v: int = 1
    answer: str | None = None
    """JSON text; None if there is an error."""
    error: JobError | None = None
    printed: str = ""
    duration_ms: int = 0


class ProbeReport(Recorded):
    """What the sandbox can do on this machine, found by trying."""

    level: str | None = None
    """The level that works; None = tools that run code are refused."""
    memory: MemoryGuard = "address space only"
    start_ms: int = 0
    """From asking for a Python process to its answer."""
    reason: str | None = None
    """Why no level works, and what to do."""


class ToolFailure(Recorded):
    """A failed or denied call, as the model reads it. `kind` is the error's class name."""

    kind: str
    message: str
    do: str | None = None


class ToolResult(Recorded):
    """What a model reads of a tool call. A denied call is an answer too, no failure of the run."""

    v: int = 1
    ok: bool
    value: JsonValue = None
    error: ToolFailure | None = None
    printed: str = ""

    @classmethod
    def answered(cls, value: JsonValue) -> ToolResult:
        return cls(ok=True, value=value)

    @classmethod
    def failed(cls, error: VertebraError) -> ToolResult:
        """The result of a call that `error` ended or refused."""
        told = ToolFailure(kind=type(error).__name__, message=error.message, do=error.do)
        return cls(ok=False, error=told, printed=str(error.data.get("printed", "")))

    @property
    def content(self) -> JsonValue:
        """What goes into the transcript: the value; or the error as an object, with the end of what was printed."""
        if self.error is None:
            return self.value
        plain: dict[str, JsonValue] = json.loads(self.error.model_dump_json(exclude_none=True))
        return {"error": plain | ({"printed": self.printed[-_SHOWN_CHARS:]} if self.printed else {})}
