"""Options that many commands share, so that they are spelled alike everywhere."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import typer

PROJECT: ContextVar[Path | None] = ContextVar("project", default=None)
"""The folder named by `--project`; by default the search starts where the command was called."""

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output; messages on standard error.")
]
As = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Sign with the local key of this person.")]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Why; kept with the decision.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `vertebra runs list` shows it.")]
