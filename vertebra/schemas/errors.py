"""Every error of vertebra in one tree, split by who must act.

VertebraError
├── GraphError       the author: a graph, prompt, tool or policy file is wrong
├── PolicyError      the owner of rights, limits and people; never retried
├── ToolError        the model: it sees the text and may try something else
├── ProviderError    the operator: a model vendor failed; retried where the error map says so
├── SettingsError    whoever starts the process
└── StoreError       the operator: Postgres, the artifact store or Temporal cannot be reached or refuse
"""

from __future__ import annotations

from typing import Any, Literal

FailureKind = Literal[
    "network",
    "timeout",
    "server",
    "malformed",
    "rate_limited",
    "overloaded",
    "bad_key",
    "no_credit",
    "bad_request",
    "context_too_long",
    "content_filter",
    "refused",
    "length",
]
"""How a vendor fails; what follows from each stands in providers/errors.py."""

HttpFailure = Literal["connect", "network", "timeout", "too_large", "malformed", "status"]
"""How a request to outside fails; with `connect` nothing has left."""


class VertebraError(Exception):
    """Something went wrong in vertebra."""

    def __init__(self, message: str | None = None, *, at: object = None, do: str | None = None, **data: Any) -> None:
        """`at` is the place (`file:line`, node, field), `do` what to do; the rest is kept as attributes."""
        self.message = message or (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        self.at = None if at is None else str(at)
        self.do = do
        self.data = data
        super().__init__(self.message)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self) -> str:
        where = f"{self.at}: " if self.at else ""
        advice = f"; {self.do}" if self.do else ""
        return f"{where}{self.message}{advice}"


class GraphError(VertebraError):
    """An authored file is wrong."""


class BadFile(GraphError):
    """A file cannot be read as what it should be."""


class Complaints(GraphError):
    """A file or project has one or more mistakes."""

    def __init__(self, complaints: list[GraphError]) -> None:
        super().__init__("\n".join(str(complaint) for complaint in complaints))
        self.complaints = tuple(complaints)


class BadInput(GraphError):
    """An input breaks the schema that the graph or prompt states."""


class BadJson(BadInput):
    """A text is not strict JSON."""


class RenderLimit(GraphError):
    """A prompt takes more steps or gives more text than a prompt may."""


class ConditionError(GraphError):
    """A CEL condition gave neither true nor false."""


class BadTool(GraphError):
    """The definition of a tool is wrong."""


class UnknownTool(GraphError):
    """No tool of this name is offered."""


class PolicyError(VertebraError):
    """A rule of the owner forbids this."""


class PermissionDenied(PolicyError):
    """The context does not hold the right that this needs."""


class ContextExpired(PolicyError):
    """The context has expired."""


class StartRefused(PolicyError):
    """This start is not let in."""


class BadSignature(PolicyError):
    """A signature does not fit the person, the key or the thing signed."""


class ApprovalClosed(PolicyError):
    """The approval is already decided, expired or withdrawn."""


class NotBlocked(PolicyError):
    """The node does not wait for an operator."""


class TooManyEvents(PolicyError):
    """The run holds as many events that nobody took as it may."""


class Unpriced(PolicyError):
    """No price list knows this model, so nothing bounds what it may cost."""


class BudgetExceeded(PolicyError):
    """The upper bound of this call does not fit what is left of the budget."""


class ToolError(VertebraError):
    """A tool failed."""


class BadArguments(ToolError):
    """The arguments break the schema of the tool."""


class BadToolOutput(ToolError):
    """The tool's answer breaks its own schema or limits."""


class ToolTimeout(ToolError):
    """The tool took longer than it may."""


class JobFailed(ToolError):
    """A tool's code failed or broke a limit, or the machine refused it something."""


class SandboxUnavailable(ToolError):
    """No sandbox level works on this machine, so tools that run code are refused."""


class ToolHostLost(ToolError):
    """The tool host died while the job ran."""


class EgressRefused(ToolError):
    """A request may not leave: its host, address or redirect is not allowed."""


class HttpFailed(ToolError):
    """A request was lost, or its answer is none that was expected."""

    def __init__(self, message: str, *, kind: HttpFailure, at: object = None, do: str | None = None) -> None:
        super().__init__(message, at=at, do=do)
        self.kind: HttpFailure = kind


class ProviderError(VertebraError):
    """A model vendor failed."""


class OutputInvalid(ProviderError):
    """The model's reply breaks the output schema of its prompt."""


class ProviderFailure(ProviderError):
    """A model vendor refused or lost one request."""

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        retryable: bool,
        counts: bool,
        retry_after_s: float | None = None,
        at: object = None,
        do: str | None = None,
    ) -> None:
        """`counts`: the attempt counts against `max_attempts`; `retry_after_s`: the vendor's own delay, capped."""
        super().__init__(message, at=at, do=do)
        self.kind: FailureKind = kind
        self.retryable = retryable
        self.counts = counts
        self.retry_after_s = retry_after_s


class SettingsError(VertebraError):
    """A setting is missing or wrong."""


class UnknownEngine(SettingsError):
    """This worker is older than the rules that a run was published for."""


class AlreadyRunning(SettingsError):
    """A supervisor already runs in this folder."""


class ForeignData(SettingsError):
    """A data folder is damaged, of another version, or not ours; it is left as it is."""


class StoreError(VertebraError):
    """Postgres, the artifact store or Temporal cannot be reached or refuses."""


class ServiceFailed(StoreError):
    """A local service did not start."""


class DiskFull(StoreError):
    """The disk is full."""


class ChildLost(StoreError):
    """A child process was lost before it answered; the step may be tried again."""


class NotFound(StoreError):
    """Nothing is stored under this name."""


class Conflict(StoreError):
    """Something else is already stored under this name."""


class TamperedRow(StoreError):
    """A stored row does not carry the seal or hash that it must."""


class AuditRefused(StoreError):
    """The audit stream did not take the entry, so what it tells of may not happen."""
