"""On PostgreSQL, points of a deleted trial go by a trigger and not by a foreign key.

The key made the server look the trial up for each point: a quarter of what a report took. Whoever
writes points has locked their trials, so they are there.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# With the owner's rights, as under a key: whoever deletes may know Optuna's tables only. The tables
# are found as they are now, whatever that role's `search_path`, and never a temporary one of its.
_FUNCTION = """
    CREATE OR REPLACE FUNCTION sweeplane_trial_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {path}, pg_temp AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            TRUNCATE points;
        ELSE
            DELETE FROM points WHERE trial_id = OLD.trial_id;
        END IF;
        RETURN NULL;
    END $$"""


def upgrade() -> None:
    """Puts triggers in the place of the key."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.drop_constraint("points_trial_id_fkey", "points", type_="foreignkey")
    path = op.get_bind().scalar(sa.text("SELECT current_setting('search_path')"))
    op.execute(_FUNCTION.format(path=path))
    for event, each in (("DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER sweeplane_trial_{event.lower()} AFTER {event} ON trials "
            f"FOR EACH {each} EXECUTE FUNCTION sweeplane_trial_deleted()"
        )
