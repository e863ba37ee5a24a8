"""How long a run's first activation takes, sandbox set-up included, and what it imports."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from types import ModuleType

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker._command_aware_visitor import CommandInfo
from temporalio.workflow import Info, _Definition


@dataclass
class Activations:
    """The first activation of every run so far."""

    took_ms: list[float] = field(default_factory=list)
    imported: list[tuple[str, ...]] = field(default_factory=list)

    def plugin(self) -> SimplePlugin:
        """A client plugin that watches; it must stand behind vertebra's own."""
        return SimplePlugin("bench-activations", workflow_runner=self._runner)

    def _runner(self, given: WorkflowRunner | None) -> WorkflowRunner:
        assert given is not None
        return _Watched(given, self)


class _Watched(WorkflowRunner):
    def __init__(self, inside: WorkflowRunner, seen: Activations) -> None:
        self._inside = inside
        self._seen = seen

    def prepare_workflow(self, defn: _Definition) -> None:
        self._inside.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        with _imports() as imported:
            began = time.perf_counter()
            instance = self._inside.create_instance(det)
            took = time.perf_counter() - began
        return _First(instance, self._seen, took, imported)

    def set_worker_level_failure_exception_types(self, types: object) -> None:
        self._inside.set_worker_level_failure_exception_types(types)  # type: ignore[arg-type]  # handed on as it came


class _First(WorkflowInstance):
    def __init__(self, inside: WorkflowInstance, seen: Activations, created_s: float, imported: list[str]) -> None:
        self._inside, self._seen = inside, seen
        self._created_s, self._imported = created_s, imported
        self._is_first = True

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        if not self._is_first:
            return self._inside.activate(act)
        self._is_first = False
        with _imports() as imported:
            began = time.perf_counter()
            done = self._inside.activate(act)
            took = time.perf_counter() - began
        self._seen.took_ms.append((self._created_s + took) * 1000)
        self._seen.imported.append((*self._imported, *imported))
        return done

    def get_serialization_context(self, command_info: CommandInfo | None):  # type: ignore[no-untyped-def]  # as inside
        return self._inside.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: CommandInfo | None):  # type: ignore[no-untyped-def]  # as inside
        return self._inside.get_external_store_context(command_info)

    def get_info(self) -> Info:
        return self._inside.get_info()

    def get_thread_id(self) -> int | None:
        return self._inside.get_thread_id()


@contextmanager
def _imports() -> Iterator[list[str]]:
    """The modules whose code this thread runs inside the block."""
    found: list[str] = []
    thread, inside = threading.get_ident(), SourceFileLoader.exec_module

    def exec_module(self: SourceFileLoader, module: ModuleType) -> None:
        if threading.get_ident() == thread:
            found.append(module.__name__)
        inside(self, module)

    SourceFileLoader.exec_module = exec_module  # type: ignore[assignment, method-assign]  # where all imports pass
    try:
        yield found
    finally:
        SourceFileLoader.exec_module = inside  # type: ignore[method-assign]  # as it was
