"""`vertebra doctor`: what this machine and this project have, what is missing, and where each setting comes from."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from vertebra.audit.keys import audit_keys, context_key
from vertebra.cli.desk import Desk, open_desk
from vertebra.cli.dev import options
from vertebra.cli.endings import FAILED
from vertebra.cli.options import AsJson
from vertebra.cli.output import table
from vertebra.client import temporal
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import SettingsError, VertebraError
from vertebra.services import ports, postgres
from vertebra.services.options import ServiceOptions
from vertebra.services.temporal_cli import cached_names
from vertebra.settings import shown
from vertebra.store.schema import check_schema
from vertebra.tools.sandbox.bwrap import SEARCH_PATH
from vertebra.tools.sandbox.probe import probe
from vertebra.workers.frontend import address_of, secured

app = typer.Typer()
State = Literal["ok", "missing", "wrong"]
_PYTHON = (3, 11)
_GO = "only needed where no `temporal` program is found and none can be downloaded; install Go 1.25 or newer"
_TEMPORAL = "`vertebra dev` downloads one, or builds one with Go; or name one: VERTEBRA_TEMPORAL_CLI=/path/to/temporal"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `missing` is no failure where nothing here needs it."""

    name: str
    state: State
    detail: str


@app.command(epilog="Example: vertebra doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Check programs, sandbox, ports, services and keys, and show every setting with its origin. No secret is shown."""
    desk = open_desk(as_json=as_json)
    checks = asyncio.run(_checks(desk))
    settings = shown(desk.settings)
    origins = desk.loaded.origins
    lines = [(name, "-" if value is None else value, origins[name]) for name, value in settings.items()]
    text = table(("CHECK", "STATE", "DETAIL"), [(one.name, one.state, one.detail) for one in checks])
    plain: Json = {
        "checks": [{"name": one.name, "state": one.state, "detail": one.detail} for one in checks],
        "settings": [{"name": name, "value": value, "origin": origins[name]} for name, value in settings.items()],
    }
    desk.out.give(plain, f"{text}\n\n{table(('SETTING', 'VALUE', 'FROM'), lines)}")
    if any(one.state == "wrong" for one in checks):
        raise typer.Exit(FAILED)


async def _checks(desk: Desk) -> list[Check]:
    services = options(desk)
    return [
        _python(),
        _program("bwrap", SEARCH_PATH, "tools that run code are refused; install it: apt-get install bubblewrap"),
        await _sandbox(desk),
        _temporal_program(services),
        _program("go", services.path, _GO),
        _postgres_wheel(desk),
        _ports(desk),
        _keys(desk),
        await _asked("database", lambda: _database(desk)),
        *await _of_temporal(desk),
    ]


def _python() -> Check:
    fine = sys.version_info >= _PYTHON
    return Check("python", "ok" if fine else "wrong", f"{platform.python_version()} at {sys.executable}")


def _program(name: str, path: str, without: str) -> Check:
    found = shutil.which(name, path=path)
    return Check(name, "ok", found) if found else Check(name, "missing", without)


def _temporal_program(options: ServiceOptions) -> Check:
    name, given = "temporal program", options.temporal_cli
    if given is not None and not os.access(given, os.X_OK):
        return Check(name, "wrong", f"VERTEBRA_TEMPORAL_CLI names {given}, which is no program; correct or unset it")
    cached = (str(options.cache / one) for one in cached_names() if (options.cache / one).exists())
    found = given or shutil.which("temporal", path=options.path) or next(cached, None)
    return Check(name, "ok", str(found)) if found else Check(name, "missing", _TEMPORAL)


async def _sandbox(desk: Desk) -> Check:
    python = desk.settings.sandbox_python
    report = (await probe(python=None if python is None else str(python))).report
    if report.level is None:
        return Check("sandbox", "missing", report.reason or "no level works")
    return Check("sandbox", "ok", f"{report.level}, memory by {report.memory}, {report.start_ms} ms to start")


def _postgres_wheel(desk: Desk) -> Check:
    try:
        return Check("postgres programs", "ok", str(postgres.programs(desk.settings.postgres)))
    except SettingsError as error:
        return Check("postgres programs", "missing", str(error))


def _ports(desk: Desk) -> Check:
    if desk.services is not None:
        return Check("ports", "ok", "in use by the services of this folder")
    usual = {name: getattr(ports.USUAL, name) for name in ("postgres", "temporal", "temporal_ui", "temporal_metrics")}
    taken = [f"{name} {port}" for name, port in usual.items() if not ports.is_free(port)]
    return Check(
        "ports", "ok", f"taken, so others are chosen: {', '.join(taken)}" if taken else "the usual ones are free"
    )


def _keys(desk: Desk) -> Check:
    """A laptop holds a worker's keys and a person's; in production a machine holds one of both."""
    folder = desk.settings.keys
    try:
        held = [*_worker_keys(folder), *_own_key(desk, folder)]
    except SettingsError as error:
        return Check("keys", "wrong", str(error))
    if not held:
        return Check("keys", "missing", f"`vertebra dev` makes them in {folder}; elsewhere `vertebra keys make`")
    return Check("keys", "ok", "; ".join(held))


def _worker_keys(folder: Path) -> list[str]:
    if not any((folder / name).exists() for name in ("audit.key", "seal.key")):
        return []
    audit_keys(folder)
    context_key(folder)
    return ["a worker's: seal and audit"]


def _own_key(desk: Desk, folder: Path) -> list[str]:
    if not any((folder / "people").glob("*.key")):
        return []
    signer = desk.signer()
    return [f"{signer.person} signs with key {signer.key.id}"]


async def _asked(name: str, ask: Callable[[], Awaitable[str]]) -> Check:
    """A service: not set is missing, not answering is wrong."""
    try:
        return Check(name, "ok", await ask())
    except SettingsError as error:
        return Check(name, "missing", str(error))
    except VertebraError as error:
        return Check(name, "wrong", str(error))


async def _database(desk: Desk) -> str:
    async with desk.database() as connection:
        await check_schema(connection)
        return f"answers as vertebra_api, server {connection.info.server_version // 10000}"


async def _of_temporal(desk: Desk) -> list[Check]:
    """The files and the key that the line needs, and who answers at its other end."""
    name = "temporal security"
    try:
        line = Check(name, "ok", secured(desk.settings))
    except SettingsError as error:
        return [Check(name, "wrong", str(error)), Check("temporal", "missing", "not asked before that is in order")]
    return [line, await _asked("temporal", lambda: _temporal(desk))]


async def _temporal(desk: Desk) -> str:
    settings = desk.settings
    if desk.services is None and desk.loaded.origins["temporal_address"] == "default":
        raise SettingsError("no address is set and no `vertebra dev` runs here")
    found = await temporal.has_worker(address_of(settings))
    return f"answers at {settings.temporal_address}; " + (
        "a worker asks for runs" if found else "no worker asks for runs"
    )
