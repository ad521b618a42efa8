"""A study's trials in memory, brought up to date by reading only what changed.

A finished trial never changes, since no storage writes to one: it is read once. An open one
(RUNNING, WAITING) is read again at each look, whoever writes to it, since a row that is
overwritten keeps its id. A new one has a higher id than all before it: the trials of a study are
created one after the other, under the lock of its row.

A look is one transaction that sees one snapshot: one statement when all trials are finished and
none is new, else six, whatever their number. A trial that was given out never changes; one that
did change is another object afterwards, and one that did not is the same.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optuna.distributions import json_to_distribution
from optuna.trial import FrozenTrial
from sqlalchemy import Select, select, union_all

from studies import tables
from studies.errors import GoneError
from studies.retrying import retried

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy import Connection, Engine, Row, Table

MOST_IDS = 10_000  # in a statement, of which SQLite takes 32,766; above it, the study's are read

_NOT_FINITE = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}

# Some ids, or the statement that finds them.
_Chosen = Sequence[int] | Select[Any]


@dataclass
class _Study:
    """What is known of one study."""

    trials: list[FrozenTrial] = field(default_factory=list)  # by id, and so by number
    open: dict[int, int] = field(default_factory=dict)  # id -> place in `trials`
    # The newest finished trial, as `trials` has it. SQLite gives the ids of a deleted study to
    # the next one; then this row is gone or another.
    anchor: Row[Any] | None = None

    @property
    def last_id(self) -> int:
        return self.trials[-1]._trial_id if self.trials else 0

    def watched(self) -> list[int]:
        """The ids that must still be there."""
        return [*self.open, *([] if self.anchor is None else [self.anchor.trial_id])]

    def take(self, heads: Sequence[Row[Any]], trials: Iterable[FrozenTrial]) -> None:
        """Adds new trials and replaces changed ones; both arguments ascend by id."""
        for head, trial in zip(heads, trials, strict=True):
            place = self.open.pop(head.trial_id, None)
            if place is None:
                place = len(self.trials)
                self.trials.append(trial)
            elif self.trials[place] != trial:
                self.trials[place] = trial
            if not head.state.is_finished():
                self.open[head.trial_id] = place
            elif self.anchor is None or head.trial_id > self.anchor.trial_id:
                self.anchor = head


class Mirror:
    """The trials of the studies of one database; safe to use from many threads."""

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.name == "postgresql":  # by default each statement sees its own snapshot
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        self.engine = engine
        self._lock = threading.Lock()
        self._studies: dict[int, _Study] = {}
        self._distributions: dict[str, BaseDistribution] = {}

    @retried
    def trials(self, study_id: int) -> list[FrozenTrial]:
        """Every trial of the study as the database has it now, by number: not to be changed.

        Raises:
            GoneError: no such study.
        """
        with self._lock, self.engine.connect() as connection:
            study = self._studies.get(study_id) or _Study()
            if not self._refresh(connection, study_id, study):
                study = _Study()
                self._refresh(connection, study_id, study)
            self._studies[study_id] = study
            if not study.trials:
                _require_study(connection, study_id)
            return list(study.trials)

    @retried
    def trial(self, trial_id: int) -> FrozenTrial:
        """One trial as the database has it now: not to be changed.

        Raises:
            GoneError: no such trial.
        """
        with self.engine.connect() as connection:
            query = _heads().where(tables.trials.c.trial_id == trial_id)
            head = connection.execute(query).one_or_none()
            if head is None:
                raise GoneError(f"no trial has the id {trial_id}")
            known = self._finished(head)
            return known or self._read(connection, [head], [trial_id])[0]

    def forget(self, study_id: int) -> None:
        """Drops what is known of a study that is being deleted."""
        with self._lock:
            self._studies.pop(study_id, None)

    def _finished(self, head: Row[Any]) -> FrozenTrial | None:
        with self._lock:
            study = self._studies.get(head.study_id)
            if study is None or head.number >= len(study.trials) or not head.state.is_finished():
                return None
            trial = study.trials[head.number]
        then = (trial._trial_id, trial.state, trial.datetime_start, trial.datetime_complete)
        now = (
            head.trial_id,
            head.state,
            _local(head.datetime_start),
            _local(head.datetime_complete),
        )
        return trial if then == now else None

    def _refresh(self, connection: Connection, study_id: int, study: _Study) -> bool:
        """Reads what changed; False when `study` is another one than the database has by now."""
        watched = study.watched()
        if len(watched) > MOST_IDS:
            return False
        trials = tables.trials.c
        mine = _heads().where(trials.study_id == study_id)
        asked = [mine.where(trials.trial_id > study.last_id)]
        if watched:
            asked.append(mine.where(trials.trial_id.in_(watched)))
        found = connection.execute(union_all(*asked)).all()
        heads = sorted(found, key=lambda head: head.trial_id)
        old = {head.trial_id: head for head in heads if head.trial_id <= study.last_id}
        if len(old) < len(watched):
            return False
        if study.anchor is not None:
            if old[study.anchor.trial_id] != study.anchor:
                return False
            heads.remove(study.anchor)
        ids: _Chosen = [head.trial_id for head in heads]
        if not study.trials or len(heads) > MOST_IDS:
            ids = select(trials.trial_id).where(trials.study_id == study_id)
        study.take(heads, self._read(connection, heads, ids))
        return True

    def _read(
        self, connection: Connection, heads: Sequence[Row[Any]], chosen: _Chosen
    ) -> list[FrozenTrial]:
        """The trials of `heads`, whose ids are among `chosen`."""
        if not heads:
            return []
        params, distributions = self._params(connection, chosen)
        values = _values(connection, chosen)
        user_attrs = _attrs(connection, tables.user_attrs, chosen)
        system_attrs = _attrs(connection, tables.system_attrs, chosen)
        curves = _curves(connection, chosen)
        return [
            FrozenTrial(
                number=head.number,
                state=head.state,
                value=None,
                values=values.get(head.trial_id),
                datetime_start=_local(head.datetime_start),
                datetime_complete=_local(head.datetime_complete),
                params=params.get(head.trial_id, {}),
                distributions=distributions.get(head.trial_id, {}),
                user_attrs=user_attrs.get(head.trial_id, {}),
                system_attrs=system_attrs.get(head.trial_id, {}),
                intermediate_values=curves.get(head.trial_id, {}),
                trial_id=head.trial_id,
            )
            for head in heads
        ]

    def _params(
        self, connection: Connection, chosen: _Chosen
    ) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, BaseDistribution]]]:
        table = tables.params.c
        query = select(table.trial_id, table.param_name, table.param_value, table.distribution_json)
        params: dict[int, dict[str, Any]] = {}
        distributions: dict[int, dict[str, BaseDistribution]] = {}
        query = query.where(table.trial_id.in_(chosen)).order_by(table.param_id)
        for trial_id, name, value, text in _rows(connection, query):
            distribution = self._distributions.get(text)
            if distribution is None:
                distribution = self._distributions[text] = json_to_distribution(text)
            params.setdefault(trial_id, {})[name] = distribution.to_external_repr(value)
            distributions.setdefault(trial_id, {})[name] = distribution
        return params, distributions


def _heads() -> Select[Any]:
    trials = tables.trials.c
    return select(
        trials.trial_id,
        trials.study_id,
        trials.number,
        trials.state,
        trials.datetime_start,
        trials.datetime_complete,
    )


def _require_study(connection: Connection, study_id: int) -> None:
    studies = tables.studies.c
    if connection.scalar(select(studies.study_id).where(studies.study_id == study_id)) is None:
        raise GoneError(f"no study has the id {study_id}")


def _rows(connection: Connection, query: Select[Any]) -> Sequence[Any]:
    # The driver's own rows: SQLAlchemy's take twice as long, and a study may have 500,000 of them.
    # So an enum is its name here.
    with connection.execute(query) as result:
        return result.cursor.fetchall()


def _values(connection: Connection, chosen: _Chosen) -> dict[int, list[float]]:
    table = tables.values.c
    query = select(table.trial_id, table.value, table.value_type)
    query = query.where(table.trial_id.in_(chosen)).order_by(table.objective)
    found: dict[int, list[float]] = {}
    for trial_id, value, kind in _rows(connection, query):
        found.setdefault(trial_id, []).append(_NOT_FINITE[kind] if value is None else value)
    return found


def _attrs(connection: Connection, table: Table, chosen: _Chosen) -> dict[int, dict[str, Any]]:
    query = select(table.c.trial_id, table.c.key, table.c.value_json)
    found: dict[int, dict[str, Any]] = {}
    for trial_id, key, text in _rows(connection, query.where(table.c.trial_id.in_(chosen))):
        found.setdefault(trial_id, {})[key] = json.loads(text)
    return found


def _curves(connection: Connection, chosen: _Chosen) -> dict[int, dict[int, float]]:
    table = tables.intermediates.c
    query = select(
        table.trial_id, table.step, table.intermediate_value, table.intermediate_value_type
    )
    found: dict[int, dict[int, float]] = {}
    for trial_id, step, value, kind in _rows(connection, query.where(table.trial_id.in_(chosen))):
        found.setdefault(trial_id, {})[step] = _NOT_FINITE[kind] if value is None else value
    return found


def _local(moment: datetime | None) -> datetime | None:
    # Stored as naive UTC; Optuna's trials have naive local time.
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
