"""A shell beside the session's stage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.cli.shell import Shell
from tests.stage import AUDIT_SECRET, SEAL_SECRET, TEMPLATE, Stage
from tests.stores import Migrated
from vertebra.settings import PREFIX


@pytest.fixture(scope="session")
async def shell(stage: Stage, migrated: Migrated, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A project folder with the keys of the stage's people; `rory` is admin, and `ada` acts."""
    project = tmp_path_factory.mktemp("shell") / "shop"
    shutil.copytree(TEMPLATE, project)
    await stage.enroll("rory", "admin")
    people = project / ".vertebra" / "keys" / "people"
    people.mkdir(mode=0o700, parents=True)
    for name, key in stage.keys.items():
        write_key(people / f"{name}.key", key.secret)
    write_key(people.parent / "audit.key", AUDIT_SECRET)
    write_key(people.parent / "seal.key", SEAL_SECRET)
    settings = {
        "DATABASE_URL": migrated.superuser_dsn,
        "API_DSN": migrated.dsn("vertebra_api"),
        "READER_DSN": migrated.dsn("vertebra_reader"),
        "TEMPORAL_ADDRESS": stage.client.service_client.config.target_host,
        "TEMPORAL_NAMESPACE": stage.client.namespace,
        "PERSON": "ada",
    }
    return Shell(stage, project, {PREFIX + name: value for name, value in settings.items()})


def write_key(path: Path, secret: bytes) -> None:
    path.touch(mode=0o600)
    path.write_text(secret.hex() + "\n")
