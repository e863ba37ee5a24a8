"""`vertebra demo`: its acts in order, what held and what did not, and nothing left running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vertebra.cli.demo.approval import approval
from vertebra.cli.demo.budget import budget
from vertebra.cli.demo.ending import ending, look_around
from vertebra.cli.demo.kill import kill
from vertebra.cli.demo.live import Live, bill, choose, turn
from vertebra.cli.demo.live_acts import account, ask
from vertebra.cli.demo.play import Play
from vertebra.cli.demo.screen import Screen
from vertebra.cli.demo.services import Dev
from vertebra.cli.demo.start import clear, make, start
from vertebra.cli.demo.tampering import tampering
from vertebra.cli.demo.termination import termination
from vertebra.cli.demo.tickets import tickets
from vertebra.cli.endings import DONE, FAILED
from vertebra.cli.options import PROJECT
from vertebra.schemas.errors import SettingsError, VertebraError

app = typer.Typer()
FOLDER = ".demo"
_KEPT = frozenset({"VERTEBRA_TEMPORAL_CLI", "VERTEBRA_SANDBOX_PYTHON"})
"""Settings that say what the machine has; every other would make the demo another one."""


@dataclass(frozen=True)
class Act:
    """One part of the demo."""

    title: str
    play: Callable[[Play], Awaitable[None]]


ACTS = (
    Act("Start everything in an empty folder", start),
    Act("Ten tickets, eight answered without asking", tickets),
    Act("A person approves exactly what is sent", approval),
    Act("SIGKILL of the worker while a model answers", kill),
    Act("Terminate a run in Temporal, resume it", termination),
    Act("A budget is used up, and topped up", budget),
    Act("Somebody changes the record", tampering),
    Act("What happened, and where to look", ending),
)


def live_acts(live: Live) -> tuple[Act, ...]:
    """What is shown on a real model."""
    return (
        Act("Start everything in an empty folder", start),
        Act("Three tickets, asked of a real model", ask),
        Act("What was spent, and the record", partial(account, live=live)),
    )


@app.command(epilog="Example: vertebra demo")
def demo(
    live: Annotated[
        bool, typer.Option("--live", help="Ask a real model, with ANTHROPIC_API_KEY or OPENAI_API_KEY; it costs money.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="With --live: which model, as PROVIDER/MODEL.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="With --live: another address of the same interface, such as a local server.")
    ] = None,
) -> None:
    """Show everything on a free, scripted model: real servers, about a minute, in .demo of this folder.

    Exit code 0 only if all that it promises held. On a terminal everything stays up until Enter. With --live three
    tickets are asked of a real model: the estimate and the cap are shown first, and nothing that it says is judged.
    """
    if not live and (model or endpoint):
        raise SettingsError("--model and --endpoint are for --live only: the demo is scripted", do="add --live")
    asked = choose(os.environ, model, endpoint) if live else None
    for name in [name for name in os.environ if name.startswith("VERTEBRA_") and name not in _KEPT]:
        del os.environ[name]
    try:
        code = asyncio.run(_demo(Path.cwd() / FOLDER, asked))
    except asyncio.CancelledError:  # by SIGTERM; everything was stopped on the way out
        code = 128 + signal.SIGTERM
    if code != DONE:
        raise typer.Exit(code)


async def _demo(folder: Path, live: Live | None) -> int:
    main = asyncio.current_task()
    assert main is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    PROJECT.set(folder)
    screen = Screen()
    clear(folder)
    if live is None:
        screen.line(
            "Everything below is carried out for real; the model is scripted, so it is free and always the same."
        )
    screen.line()
    await make(folder, screen)
    play = Play(folder, screen, Dev(folder, lambda line: screen.line(f"  {line}")))
    if live is not None:
        await _agreed(play, live)
    began = time.monotonic()
    try:
        await _perform(play, ACTS if live is None else live_acts(live))
        code = _verdict(play, time.monotonic() - began)
        if screen.is_terminal and sys.stdin.isatty():
            look_around(play, stopped=False)
            screen.line("\nPress Enter to stop everything.", "bold")
            await _enter()
    finally:
        with screen.busy("stopping"):
            await play.dev.stop()
    if not screen.is_terminal:
        look_around(play, stopped=True)
    return code


async def _agreed(play: Play, live: Live) -> None:
    """Say what it costs before anything is asked; on a terminal a person goes on from there, or does not."""
    turn(play.folder, live)
    play.screen.title("What will be asked, and what that may cost")
    bill(play, live)
    if play.screen.is_terminal and sys.stdin.isatty():
        play.screen.line("\nPress Enter to ask it, Ctrl-C to leave it.", "bold")
        await _enter()


async def _perform(play: Play, acts: Sequence[Act]) -> None:
    """All acts. One that fails does not end the others, except the first, without which there is nothing."""
    for number, act in enumerate(acts, 1):
        play.act = act.title
        play.screen.title(f"{number}/{len(acts)}  {act.title}")
        try:
            await act.play(play)
        except VertebraError as error:
            play.fail(str(error))
            if act.play is start:
                return


def _verdict(play: Play, seconds: float) -> int:
    play.screen.line()
    if not play.failures:
        play.screen.line(f"All {play.checked} checks held, in {seconds:.0f} s.", "bold green")
        return DONE
    play.screen.line(f"{len(play.failures)} of {play.checked} checks did not hold:", "bold red")
    for failure in play.failures:
        play.screen.line(f"  {failure}")
    return FAILED


async def _enter() -> None:
    """Wait for a line, or for the end of the input."""
    loop = asyncio.get_running_loop()
    pressed = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), pressed.set)
    try:
        await pressed.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    sys.stdin.readline()
