"""`vertebra logs`: what worker and services of `vertebra dev` have to say, in the order of time, without secrets."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vertebra.cli.desk import Desk, open_desk
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import BadInput, NotFound
from vertebra.services.log_reader import LogReader
from vertebra.settings import STATE_FOLDER

app = typer.Typer()
LEVELS = ("debug", "info", "warning", "error")
_FOLLOW_EVERY_S = 0.25
_ABOUT = ("run", "node", "agent")
_UNSAID = (
    "timestamp",
    "ts",
    "level",
    "event",
    "msg",
    "logger",
    "tenant",
    "trace",
    "fields",
    "__temporal_error_identifier",
)
"""Told elsewhere in the line, or for programs only."""
_NOTHING = "no line fits; a call that goes well writes none: look with vertebra show RUN, or vertebra audit query"
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?")
_BEGINNING = re.compile(_STAMPED.pattern + r" UTC \[\d+\] ")
"""Of Postgres's own lines: the time is told once."""
_SECRETS = (
    (re.compile(r"(\b\w+://[^\s:/@]+:)[^\s@/]+@"), r"\1[hidden]@"),
    (re.compile(r"(?i)(bearer\s+)[\w.~+/=-]{8,}"), r"\1[hidden]"),
    (re.compile(r"\b(sk-|xoxb-|ghp_)[\w-]{8,}"), r"\1[hidden]"),
    (
        re.compile(
            r"""(?i)((?:password|passwd|secret|api[_-]?key|authorization|token)["']?\s*[=:]\s*["']?)(?!bearer)[^\s"',;}]+"""
        ),
        r"\1[hidden]",
    ),
)
"""A worker hides secrets before it writes; services and foreign libraries may not."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one service. Of a line that is no JSON object, the whole text is the event."""

    service: str
    at: str
    """Sorts as the time does; a line without a time stands with the one before it."""
    fields: dict[str, Json]

    @property
    def level(self) -> str:
        return str(self.fields.get("level", "info")).lower()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What lines must be; None does not matter."""

    agent: str | None = None
    run: str | None = None
    node: str | None = None
    level: str | None = None

    def fits(self, line: Line) -> bool:
        about = {"agent": self.agent, "run": self.run, "node": self.node}
        if any(value is not None and line.fields.get(name) != value for name, value in about.items()):
            return False
        return self.level is None or _rank(line.level) >= LEVELS.index(self.level)


@app.command(epilog="Example: vertebra logs --run customer-support-01J.. --follow")
def logs(
    service: Annotated[
        list[str] | None, typer.Option("--service", "-s", help="worker, postgres or temporal; all by default.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only what calls of this agent say.")] = None,
    run: Annotated[str | None, typer.Option(help="Only what is about this run.")] = None,
    node: Annotated[str | None, typer.Option(help="Only what is about this node.")] = None,
    level: Annotated[str | None, typer.Option(help=f"At least: {', '.join(LEVELS)}.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=1_000_000, help="The last so many.")] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """The log lines of worker and services of `vertebra dev` here; elsewhere a worker writes to its own stderr."""
    desk = open_desk(as_json=as_json)
    if level is not None and level not in LEVELS:
        raise BadInput(f"no level is called {level!r}", at="--level", do=f"known are: {', '.join(LEVELS)}")
    wanted = Wanted(agent, run, node, level)
    readers = _readers(desk.settings.project / STATE_FOLDER / "logs", service or [])
    try:
        found = deque((line for line in ordered(readers) if wanted.fits(line)), maxlen=lines)
        _show(desk, found)
        if not found:
            desk.out.say(_NOTHING)
        while follow:
            time.sleep(_FOLLOW_EVERY_S)
            _show(desk, [line for line in ordered(readers) if wanted.fits(line)])
    finally:
        for reader in readers:
            reader.close()


def ordered(readers: Sequence[LogReader]) -> list[Line]:
    """New lines of all services, by time; those of one service stay in their order."""
    found = [line for reader in readers for line in _parsed(reader.path.stem, reader.read())]
    return sorted(found, key=lambda line: line.at)


def without_secrets(text: str) -> str:
    """A line as it may be shown."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def _readers(folder: Path, named: Sequence[str]) -> list[LogReader]:
    known = sorted(path.stem for path in folder.glob("*.log") if path.stem != "vertebra-error")
    if not known:
        raise NotFound("there are no logs in this folder", at=folder, do="start it with: vertebra dev")
    for name in named:
        if name not in known:
            raise BadInput(f"no service is called {name!r}", at="--service", do=f"known are: {', '.join(known)}")
    return [LogReader(folder / f"{name}.log") for name in (named or known)]


def _parsed(service: str, texts: Iterable[str]) -> Iterator[Line]:
    at = ""
    for text in texts:
        if not text.strip():
            continue
        line = _line(service, without_secrets(text), at)
        at = line.at
        yield line


def _line(service: str, text: str, before: str) -> Line:
    try:
        value = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return Line(service, _time(text) or before, {"event": text, "level": _level_of(text)})
    stamp = value.get("timestamp") or value.get("ts") or ""
    event = value.get("event") or value.get("msg") or _said_by_library(value.get("fields")) or ""
    return Line(
        service, _time(str(stamp)) or before, {**value, "event": event, "level": str(value.get("level", "info"))}
    )


def _said_by_library(fields: Json) -> Json:
    """What Temporal's library says: its message stands among the details."""
    return fields.get("message") if isinstance(fields, dict) else None


def _time(text: str) -> str | None:
    match = _STAMPED.search(text[:80])
    return None if match is None else f"{match[1]}T{match[2]}{(match[3] or '.0')[:7]:0<7}"


def _level_of(text: str) -> str:
    for word, level in (("FATAL", "error"), ("PANIC", "error"), ("ERROR", "error"), ("WARNING", "warning")):
        if f"{word}:" in text:
            return level
    return "info"


def _rank(level: str) -> int:
    known = {"warn": "warning", "critical": "error", "fatal": "error"}.get(level, level)
    return LEVELS.index(known) if known in LEVELS else LEVELS.index("info")


def _show(desk: Desk, lines: Iterable[Line]) -> None:
    for line in lines:
        if desk.out.as_json:
            desk.out.line(json.dumps({"service": line.service, **line.fields}, ensure_ascii=False))
        else:
            desk.out.line(_text(line))


def _text(line: Line) -> str:
    """One line for people: control characters of others reach no terminal."""
    rest = {name: value for name, value in line.fields.items() if name not in (*_UNSAID, *_ABOUT)}
    about = [str(line.fields[name]) for name in _ABOUT if line.fields.get(name)]
    said = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in rest.items()]
    at = line.at[:19].replace("T", " ") + "Z" if line.at else "-"
    event = _BEGINNING.sub("", str(line.fields["event"]))
    whole = "  ".join([f"{at:20}", f"{line.service:8}", f"{line.level:7}", event, *about, *said])
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in whole)
