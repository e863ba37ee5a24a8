"""The workflow sandbox, entered for workflow code only.

The library enters it four times more for each payload of a workflow task, to ask which command the payload belongs to
(0.1 ms each). Only a codec or an external storage wants to know; where the client has neither, this answers at once.
"""

from __future__ import annotations

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import DataConverter, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker._command_aware_visitor import CommandInfo  # only named in a signature
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info


def is_context_free(converter: DataConverter) -> bool:
    """Whether nothing that treats encoded payloads asks where they belong."""
    return converter.payload_codec is None and converter.external_storage is None


class ContextFreeRunner(SandboxedWorkflowRunner):
    """The library's runner; its instances are asked for contexts outside the sandbox."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _ContextFree(super().create_instance(det))


class _ContextFree(WorkflowInstance):
    def __init__(self, inside: WorkflowInstance) -> None:
        self._inside = inside

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        return self._inside.activate(act)

    def get_serialization_context(self, command_info: CommandInfo | None) -> None:
        """None stands for the converter as the client has it."""

    def get_external_store_context(self, command_info: CommandInfo | None) -> StorageDriverStoreContext:
        return StorageDriverStoreContext(target=None)

    def get_info(self) -> Info:
        return self._inside.get_info()

    def get_thread_id(self) -> int | None:
        return self._inside.get_thread_id()
