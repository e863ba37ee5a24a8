"""What came in as the argument of a workflow, from our client or anybody's, read without trusting it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue

from vertebra.schemas.call import ArtifactRef
from vertebra.schemas.canonical import Json
from vertebra.schemas.run import AdmitInput

MAX_START_BYTES = 1024 * 1024


def read_start(args: Sequence[RawValue]) -> tuple[AdmitInput, Json]:
    """The start as `admit` is asked about it, and the snapshot of a continued run.

    Raises nothing, since that could hang the run for ever: what cannot be read is `refused`, by `admit` and on record.
    """
    info = workflow.info()
    try:
        text = _text(args)
        value: object = json.loads(text)
        snapshot = _snapshot(value)
        kept = snapshot.get("artifact") if isinstance(snapshot, dict) else None
        place = None if kept is None else ArtifactRef.model_validate(kept)
    except Exception as error:
        # every decoding error, known or not, must refuse the start: the argument is anybody's
        return _start("", refused=f"cannot read the argument of {info.workflow_type!r}: {type(error).__name__}"), None
    marked = isinstance(value, dict) and value.get("vertebra") == 1
    if snapshot is not None and info.continued_run_id is None:
        return _start("", refused="a snapshot is only taken from an execution that this one continues"), None
    if snapshot is not None:
        text = json.dumps(value)
    return _start(text, marked=marked, kept=place, continued=snapshot is not None), snapshot


def _snapshot(value: object) -> Json:
    """Take the snapshot out of a marked start."""
    if isinstance(value, dict) and value.get("vertebra") == 1:
        found: Json = value.pop("snapshot", None)
        return found
    return None


def _start(
    text: str,
    *,
    marked: bool = False,
    kept: ArtifactRef | None = None,
    continued: bool = False,
    refused: str | None = None,
) -> AdmitInput:
    info = workflow.info()
    return AdmitInput(
        graph=info.workflow_type,
        text=text,
        marked=marked,
        chain=info.first_execution_run_id,
        execution=info.run_id,
        continued=continued,
        snapshot=kept,
        refused=refused,
    )


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
