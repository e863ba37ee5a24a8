"""The `vertebra` command itself: which words there are, where each is defined, and where errors are told."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from vertebra.cli.endings import DONE, FAILED, code_of
from vertebra.cli.options import PROJECT
from vertebra.cli.terminal import open_streams, visible
from vertebra.schemas.errors import BadInput, Complaints, SettingsError, VertebraError

_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""Refusals of the machine, which whoever started the command mends; anything else that nobody named is our defect."""


@dataclass(frozen=True, slots=True)
class Word:
    """A command or noun, and the module and name of its Typer app."""

    place: str
    help: str


WORDS = {
    "init": Word("init:app", "Make a project folder from a template."),
    "dev": Word("dev:app", "Run everything on this machine until Ctrl-C."),
    "demo": Word("demo.command:app", "Show everything on a free, scripted model, on real servers."),
    "doctor": Word("doctor:app", "Check this machine and this project's settings."),
    "check": Word("graphs:check_app", "Check graphs without publishing them."),
    "test": Word("scenarios:app", "Play the scenarios of this project, offline."),
    "publish": Word("graphs:publish_app", "Publish a graph, or make an older version current again."),
    "schemas": Word("schemas:app", "JSON Schemas of the files of a project, for editors."),
    "run": Word("run:app", "Start a graph and follow it."),
    "runs": Word("runs:app", "List, show and watch runs, and get their results."),
    "show": Word("show:app", "Show a run or a graph."),
    "approvals": Word("approvals:app", "List, show and decide what waits for a person."),
    "approve": Word("approvals:approve_app", "Approve one request, as shown or with edited arguments."),
    "deny": Word("approvals:deny_app", "Deny one request."),
    "retry": Word("operate:retry_app", "Try a blocked node again."),
    "skip": Word("operate:skip_app", "Leave out a blocked node."),
    "override": Word("operate:override_app", "Give a blocked node's result by hand."),
    "abort": Word("operate:abort_app", "End a run as failed, now."),
    "cancel": Word("operate:cancel_app", "End a run, letting calls in flight finish."),
    "resume": Word("operate:resume_app", "Go on with a run that has ended, from its last finished call."),
    "send": Word("send:app", "Send an event to a run that waits for it."),
    "costs": Word("costs:app", "What was spent and is held, by agent, graph, model or day."),
    "budgets": Word("budgets:app", "Show and raise what a run may spend."),
    "contexts": Word("contexts:app", "List, renew and revoke the rights of a run."),
    "tools": Word("tools:app", "List and show tools, vertebra's own and the project's."),
    "people": Word("people:app", "List, add and revoke people."),
    "audit": Word("audit:app", "Query, add up, trace, verify and export the audit."),
    "logs": Word("log_lines:app", "The log lines of worker and services, filtered and followed."),
    "keys": Word("keyring:app", "Make and list the keys of this machine."),
    "worker": Word("worker:app", "Run one gate worker."),
    "migrate": Word("migrate:app", "Bring the database and Temporal to this release."),
}


_COMPLETION = ("install_completion", "show_completion")


class _Words(TyperGroup):
    """Knows every word without importing what is behind it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, word in WORDS.items():
            self.add_command(TyperCommand(name, help=word.help), name)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(WORDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, None, rest
        module, attribute = WORDS[name].place.split(":")
        # imported now: all modules together would take a second, and most are not asked for
        found = getattr(importlib.import_module(f"vertebra.cli.{module}"), attribute)
        command = get_command(found)
        # completion is installed for the whole program, not word by word
        command.params = [param for param in command.params if param.name not in _COMPLETION]
        return name, command, rest


app = typer.Typer(
    cls=_Words,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compiles multi-agent LLM graphs into durable, governed Temporal workflows.",
    epilog="Begin with: vertebra init support; cd support; vertebra dev",
)


def _version(asked: bool) -> None:
    if asked:
        # imported now: reading the metadata of packages takes longer than all of the help
        metadata = importlib.import_module("importlib.metadata")
        typer.echo(f"vertebra {metadata.version('vertebra')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    project: Annotated[
        Path | None,
        typer.Option(envvar="VERTEBRA_PROJECT", help="The project folder; else the nearest vertebra.toml upwards."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    if project is None:
        _check_folder()
    PROJECT.set(project)


def _check_folder() -> None:
    """Raise SettingsError where the folder of this shell was removed: everything begins with a look at it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise SettingsError("this folder was removed", do="go to another one, or name one with --project") from None


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code. An error is told with what to do, never as a traceback."""
    try:
        words = sys.argv[1:] if args is None else list(args)
        _check_words(words)
        app(args=words, prog_name="vertebra")
    except VertebraError as error:
        _tell(error)
        sys.exit(code_of(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in _MACHINE:
            _end_as_defect(error)
        refused = SettingsError(
            error.strerror, at=error.filename, do="check its owner and mode, and the room on its disk"
        )
        _tell(refused)
        sys.exit(code_of(refused))
    except Exception as error:  # the edge: whatever is left is a defect of ours, and a person reads this
        _end_as_defect(error)
    sys.exit(0)


def _check_words(words: Sequence[str]) -> None:
    """Raise BadInput for a word whose bytes are no text: nothing could look it up, sign or store it."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise BadInput(f"the word {word!r} is no UTF-8 text", do="write it in UTF-8") from None


def _end_as_defect(error: Exception) -> NoReturn:
    sys.stderr.write(visible(f"error: {type(error).__name__}: {error}; {_kept()}") + "\n")
    sys.exit(FAILED)


def _tell(error: VertebraError) -> None:
    told = error.complaints if isinstance(error, Complaints) else (error,)
    for one in told:
        sys.stderr.write(visible(f"error: {one}") + "\n")


def _kept() -> str:
    """Keep the traceback of a defect where it can be sent on from."""
    state = (PROJECT.get() or Path.cwd()) / ".vertebra"
    if not state.is_dir():
        return "this is a defect of vertebra; set the folder with --project to keep the details"
    file = state / "logs" / "vertebra-error.log"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(traceback.format_exc(), encoding="utf-8")
    return f"this is a defect of vertebra; the details are in {file}"


def entry() -> NoReturn:
    """The console script: as `main`, but without the interpreter's clean-up.

    Temporal's client keeps native threads that may abort a process while the interpreter is torn down (exit code 134,
    after all work was done); nothing of ours waits for that moment.
    """
    code: object = DONE
    open_streams()
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else FAILED)


if __name__ == "__main__":
    entry()
