"""What Alembic runs: our steps on the connection that `upgrade` was given."""

from __future__ import annotations

from alembic import context

from studies.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
