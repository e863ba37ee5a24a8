"""Everything of the first release: tables, the append functions, and what each role may do."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_PARTS = ("0001_tables.sql", "0001_functions.sql", "0001_grants.sql")


def upgrade() -> None:
    """Run the frozen SQL; a text without parameters may hold several statements."""
    for name in _PARTS:
        sql = Path(__file__).with_name(name).read_text(encoding="utf-8")
        op.get_bind().execution_options(no_parameters=True).exec_driver_sql(sql)


def downgrade() -> None:
    """There is no way back: going back would delete audit entries."""
    raise NotImplementedError("the first revision cannot be undone; restore a backup instead")
