"""Runs the revisions on the connection it is given, under one lock, so that parallel migrations migrate once."""

from __future__ import annotations

from alembic import context

from vertebra.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
