"""A command that was refused is put aside, and nobody writes more in one row than a look may read."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the frozen SQL; a text without parameters may hold several statements."""
    sql = Path(__file__).with_name("0005_refused.sql").read_text(encoding="utf-8")
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(sql)


def downgrade() -> None:
    """There is no way back: an older release refuses this schema."""
    raise NotImplementedError("revisions are not undone; restore a backup instead")
