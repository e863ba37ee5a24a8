"""What came in as the argument of a workflow, from our client or anybody's, read without trusting it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.canonical import Json
from vertebra.schemas.run import AdmitInput

MAX_START_BYTES = 1024 * 1024


def read_start(args: Sequence[RawValue]) -> tuple[AdmitInput, Json]:
    """The start as `admit` is asked about it, and the snapshot of a continued run.

    Raises ApplicationError (BadStart, non-retryable): any other error here would hang the run for ever.
    """
    info = workflow.info()
    try:
        text = _text(args)
        value: object = json.loads(text)
    except Exception as error:
        # every decoding error, known or not, must refuse the start: the argument is anybody's
        raise refusal(f"cannot read the argument of {info.workflow_type!r}: {type(error).__name__}") from None
    marked = isinstance(value, dict) and value.get("vertebra") == 1
    snapshot: Json = None
    if marked and isinstance(value, dict) and value.get("snapshot") is not None:
        if info.continued_run_id is None:
            raise refusal("a snapshot is only taken from an execution that this one continues")
        snapshot = value.pop("snapshot")
        text = json.dumps(value, ensure_ascii=False)
    kept = snapshot.get("artifact") if isinstance(snapshot, dict) else None
    given = AdmitInput(
        graph=info.workflow_type,
        text=text,
        marked=marked,
        chain=info.first_execution_run_id,
        execution=info.run_id,
        continued=info.continued_run_id is not None,
        snapshot=None if kept is None else ArtifactRef.model_validate(kept),
    )
    return given, snapshot


def refusal(message: str) -> ApplicationError:
    """A refused start: the execution fails at once."""
    return ApplicationError(message, type="BadStart", non_retryable=True)


def _text(args: Sequence[RawValue]) -> str:
    if not args:
        return "{}"
    if len(args) > 1:
        raise ValueError("more than one argument")
    payload = args[0].payload
    if payload.metadata.get("encoding") not in (b"json/plain", b"json/protobuf"):
        raise ValueError("not JSON")
    if len(payload.data) > MAX_START_BYTES:
        raise ValueError("too large")
    return payload.data.decode()
