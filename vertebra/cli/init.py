"""`vertebra init`: a project folder from a template that passes its own checks."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from vertebra.cli import editor
from vertebra.cli.options import AsJson
from vertebra.cli.output import Output
from vertebra.policies.fields import nearest
from vertebra.schemas.errors import Conflict, NotFound, SettingsError
from vertebra.settings import PROJECT_FILE

app = typer.Typer()
DEFAULT = "customer-support"
TEMPLATES = ("customer-support", "entity-research", "hello-world")


@app.command(epilog="Example: vertebra init support --template customer-support")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder to make.")],
    template: Annotated[
        str, typer.Option("--template", "-t", help=f"Which starter: {', '.join(TEMPLATES)}.")
    ] = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a project folder: graph, prompts, people, prices, scripted replies, tests. No file is overwritten."""
    target = Path(name).absolute()
    if target.is_file():
        raise Conflict("a file has this name", at=target, do="choose another name")
    if target.exists() and any(target.iterdir()):
        raise Conflict("the folder exists and is not empty", at=target, do="choose another name")
    with as_file(files("vertebra") / "templates") as templates:
        if template not in TEMPLATES:
            raise NotFound(f"there is no template {template!r}", do=nearest(template, TEMPLATES))
        with _whole_or_not_at_all(target):
            shutil.copytree(templates / template, target, dirs_exist_ok=True)
            _name(target / PROJECT_FILE, target.name)
            editor.write(target / editor.FOLDER)
            editor.mark(target)
    next_ = f"cd {shlex.quote(name)} && vertebra test && vertebra dev"
    Output(as_json).give(
        {"folder": str(target), "template": template}, f"made {target} from {template}; go on with: {next_}"
    )


@contextmanager
def _whole_or_not_at_all(folder: Path) -> Iterator[None]:
    """Half a project, as of a full disk, would be in the way of the second try."""
    was_there = folder.exists()
    try:
        yield
    except BaseException as error:
        for made in folder.iterdir() if folder.exists() else ():
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        if not was_there and folder.exists():
            folder.rmdir()
        if not isinstance(error, OSError):
            raise
        why = error.strerror or error.args[0][0][-1]  # copytree tells of several files at once
        do = "nothing was made; check the owner and mode of the folder above it, and the room on its disk"
        raise SettingsError(f"the project cannot be made: {why}", at=folder, do=do) from None


def _name(file: Path, name: str) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(
        re.sub(r'(?m)^name = ".*"$', lambda _: f'name = "{_quoted(name)}"', text, count=1), encoding="utf-8"
    )


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')
