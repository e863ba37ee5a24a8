"""How failures stand in history: what went wrong and what to do, without the stack of the worker that met it."""

from __future__ import annotations

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError


class Untraced(DefaultFailureConverter):
    """The gate's own errors are news and no defects: their stack says nothing, and names the folders of a machine."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        if isinstance(exception, ApplicationError):
            failure.stack_trace = ""
