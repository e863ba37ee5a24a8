"""The named statements and the metadata beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import vertebra.store
from vertebra.schemas.errors import NotFound, StoreError
from vertebra.store import artifacts, queries, schema, tables

FOLDER = Path(vertebra.store.__file__).parent


def test_every_table_has_a_tenant() -> None:
    """No row belongs to nobody."""
    assert all("tenant" in table.columns for table in tables.METADATA.sorted_tables)


def test_no_foreign_key_cascades() -> None:
    """Deleting a run cannot reach audit, ledger or approvals."""
    keys = [key for table in tables.METADATA.sorted_tables for key in table.foreign_keys]

    assert keys
    assert all(key.ondelete is None and key.onupdate is None for key in keys)
    assert not tables.audit.foreign_keys


def test_the_run_row_is_updated_in_its_page() -> None:
    """No column that changes with every effect stands in an index of `runs`."""
    hot = {"touched_at", "held_microusd", "spent_microusd", "audit_seq", "audit_hash", "counters"}

    for index in tables.runs.indexes:
        where = str(index.dialect_options["postgresql"]["where"])
        assert hot.isdisjoint(column.name for column in index.columns)
        assert not any(name in where for name in hot)


def test_every_statement_has_a_comment_of_its_own() -> None:
    """A name, a reason, the statement."""
    for path in (FOLDER / "sql").glob("*.sql"):
        blocks = path.read_text().split("-- name: ")[1:]
        names = [block.split("\n", 1)[0] for block in blocks]

        assert len(names) == len(set(names))
        assert all(block.split("\n")[1].startswith("-- ") for block in blocks), path
        assert set(names) == set(queries.sections_of(path.stem))


def test_an_unknown_statement_names_what_there_is() -> None:
    """A misspelt name is found at once."""
    with pytest.raises(NotFound, match="reserve"):
        queries.named("ledger", "resreve")
    with pytest.raises(NotFound, match=r"no file sql/nothing\.sql"):
        queries.named("nothing", "x")


def test_the_known_revision_is_the_newest() -> None:
    """A worker knows the schema that its own release migrates to."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER / "migrations"))

    assert [schema.REVISION] == ScriptDirectory.from_config(config).get_heads()


def test_a_large_value_is_refused_in_a_transaction_of_postgres() -> None:
    """More than 1 MB goes to a folder, and says so."""
    artifacts.put_query("default", b"x" * artifacts.IN_POSTGRES_BYTES)

    with pytest.raises(StoreError, match="too large"):
        artifacts.put_query("default", b"x" * (artifacts.IN_POSTGRES_BYTES + 1))
