"""One file a step; each says in plain Alembic operations what it changed at its time."""
