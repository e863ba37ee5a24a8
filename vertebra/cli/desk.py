"""What every command starts with: the project, its settings, who signs, and the ways to the services."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg

from vertebra.audit.keys import person_key
from vertebra.cli.options import PROJECT
from vertebra.cli.output import Output
from vertebra.client.signing import Signer
from vertebra.schemas.errors import SettingsError, StoreError
from vertebra.services.state import Services, find_services
from vertebra.settings import Layers, Loaded, Role, Settings, find_project, load
from vertebra.store.pool import Connection, connect

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """One command's surroundings."""

    loaded: Loaded
    out: Output
    services: Services | None
    named: str | None
    """Who was named by `--as`."""

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def person(self) -> str:
        """Who acts."""
        return self.named or self.settings.person or system_user()

    def signer(self) -> Signer:
        """Who signs, with the local key. Raises SettingsError, naming the keys that there are."""
        try:
            return Signer(self.person, person_key(self.settings.keys, self.person))
        except SettingsError as error:
            names = sorted(path.stem for path in (self.settings.keys / "people").glob("*.key"))
            do = f"there are keys of: {', '.join(names)}; choose with --as NAME" if names else "run: vertebra dev"
            raise SettingsError(
                f"no key of {self.person!r} to sign with: {error.message}", at=error.at, do=do
            ) from None

    def ask(self, question: Callable[[Connection], Awaitable[T]], role: Role = "vertebra_api") -> T:
        """What the database answers, by a connection of its own. Raises SettingsError, StoreError."""

        async def asked() -> T:
            async with self.database(role) as connection:
                return await question(connection)

        return asyncio.run(asked())

    @asynccontextmanager
    async def database(self, role: Role = "vertebra_api") -> AsyncIterator[Connection]:
        """A connection as this role. Raises SettingsError, StoreError."""
        dsn = self.settings.dsn(role)
        try:
            connection = await connect(dsn, name="vertebra-cli")
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise StoreError(
                f"Postgres cannot be reached: {reason}", do="start `vertebra dev`; see: vertebra doctor"
            ) from None
        async with connection:
            yield connection


def open_desk(*, as_json: bool = False, named: str | None = None) -> Desk:
    """Find the project and read its settings. Raises SettingsError."""
    project = find_project(PROJECT.get() or Path.cwd())
    services = find_services(project)
    loaded = load(project, os.environ, Layers({}, addresses(services)))
    return Desk(loaded, Output(as_json), services, named)


def addresses(services: Services | None) -> dict[str, object]:
    """The settings that a folder's running services give; drafts count there."""
    if services is None:
        return {}
    dsns = services.dsns
    found: dict[str, object] = {
        "database_url": dsns.get("vertebra_owner") or services.postgres_dsn,
        "temporal_address": services.temporal_address,
        "temporal_namespace": services.temporal_namespace,
        "drafts": True,
    }
    for role in ("gate", "api", "keeper", "reader"):
        if f"vertebra_{role}" in dsns:
            found[f"{role}_dsn"] = dsns[f"vertebra_{role}"]
    return found | ({"temporal_ui": services.temporal_ui} if services.temporal_ui else {})


def system_user() -> str:
    """The name of the user of the operating system; its number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"
