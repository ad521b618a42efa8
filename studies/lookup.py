"""Finds a study by its name, with what every query needs of it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, select

from studies import schema, tables
from studies.errors import UserError
from studies.standing import Order, order_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

_KNOWN = 10


@dataclass(frozen=True)
class Study:
    """A study as every query needs it."""

    study_id: int
    name: str
    direction: str  # "minimize" or "maximize", of the first objective
    status: str | None  # of the sweep; None: a plain Optuna study
    order: Order | None  # what its workers are to do; None: a plain Optuna study
    metric: str  # the objective's name; "objective" in a plain Optuna study


def list_studies(connection: Connection, name: str | None = None) -> list[Study]:
    """The study of that name, or every study."""
    studies, sweeps, directions = tables.studies, schema.sweeps, tables.directions
    first = and_(directions.c.study_id == studies.c.study_id, directions.c.objective == 0)
    query = (
        select(
            studies.c.study_id,
            studies.c.study_name,
            directions.c.direction,
            sweeps.c.status,
            sweeps.c.control,
            sweeps.c.control_reason,
            sweeps.c.control_at,
            sweeps.c.spec,
        )
        .select_from(
            studies.join(directions, first).outerjoin(
                sweeps, sweeps.c.study_id == studies.c.study_id
            )
        )
        .order_by(studies.c.study_id)
    )
    if name is not None:
        query = query.where(studies.c.study_name == name)
    return [
        Study(
            study_id=row.study_id,
            name=row.study_name,
            direction=row.direction.name.lower(),
            status=row.status,
            order=None if row.control is None else order_of(row),
            metric=(row.spec or {}).get("metric", {}).get("name", "objective"),
        )
        for row in connection.execute(query)
    ]


def find_study(connection: Connection, name: str) -> Study:
    """The study of that name.

    Raises:
        UserError: there is none; the message has the nearest name and the known ones.
    """
    found = list_studies(connection, name)
    if found:
        return found[0]
    known = list(connection.scalars(select(tables.studies.c.study_name)))
    if not known:
        raise UserError(f"study '{name}' does not exist: the database holds no studies.")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    more = f" and {len(known) - _KNOWN} more" if len(known) > _KNOWN else ""
    raise UserError(
        f"study '{name}' does not exist{hint} Known: {', '.join(sorted(known)[:_KNOWN])}{more}."
    )
