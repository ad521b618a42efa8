"""A study's trials in memory, brought up to date by reading only what changed.

A finished trial never changes, since no storage writes to one: it is read once. An open one
(RUNNING, WAITING) is read again at each look, whoever writes to it, since a row that is
overwritten keeps its id. A new one has a higher id than all before it: the trials of a study are
created one after the other, under the lock of its row.

A look is one transaction that sees one snapshot: one statement when all trials are finished and
none is new, else six, whatever their number. A trial that was given out never changes; one that
did change is another object afterwards, and one that did not is the same: its rows are compared
with those of before, and nothing is made of them.
"""

from __future__ import annotations

import itertools
import json
import math
import operator
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optuna.distributions import json_to_distribution
from optuna.trial import FrozenTrial
from sqlalchemy import Select, bindparam, select, union_all

from studies import tables
from studies.bulk import IDS, among
from studies.errors import GoneError, UserError
from studies.retrying import retried

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy import ColumnElement, Connection, Engine, Row, Table

MOST_IDS = 10_000  # to look for one by one; above it, all trials of the study are read

_NOTHING: tuple[list[Any], ...] = ([], [], [], [], [])
_NOT_FINITE = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}

# What the tables hold of a trial, each as the driver's rows: its parameters, values, user and
# system attributes, and curve.
_Parts = tuple[list[Any], ...]
_Record = tuple["Row[Any]", _Parts]
_Known = tuple[_Parts, FrozenTrial]


@dataclass
class _Study:
    """What is known of one study."""

    trials: list[FrozenTrial] = field(default_factory=list)  # by id, and so by number
    open: dict[int, _Record] = field(default_factory=dict)  # of open trials, by id
    # The newest finished trial, as `trials` has it. SQLite gives the ids of a deleted study to
    # the next one; then this row is gone or another.
    anchor: Row[Any] | None = None

    @property
    def last_id(self) -> int:
        return self.trials[-1]._trial_id if self.trials else 0

    def watched(self) -> list[int]:
        """The ids that must still be there."""
        return [*self.open, *([] if self.anchor is None else [self.anchor.trial_id])]

    def fits(self, heads: Sequence[Row[Any]]) -> bool:
        """Whether the numbers are the trials' places; `heads` ascend by id."""
        places = itertools.count(len(self.trials))
        known = {trial_id: head.number for trial_id, (head, _) in self.open.items()}
        wanted = (known[h.trial_id] if h.trial_id in known else next(places) for h in heads)
        return all(map(operator.eq, wanted, (h.number for h in heads)))

    def take(self, records: Iterable[_Record], make: Callable[..., FrozenTrial]) -> None:
        """Adds new trials and replaces changed ones; `records` ascend by id."""
        changed = [record for record in records if self.open.get(record[0].trial_id) != record]
        made = [make(*record, self._before(record[0])) for record in changed]  # all or nothing
        for (head, parts), trial in zip(changed, made, strict=True):
            if self.open.pop(head.trial_id, None) is None:
                self.trials.append(trial)
            else:
                self.trials[head.number] = trial
            if not head.state.is_finished():
                self.open[head.trial_id] = (head, parts)
            elif self.anchor is None or head.trial_id > self.anchor.trial_id:
                self.anchor = head

    def _before(self, head: Row[Any]) -> _Known | None:
        record = self.open.get(head.trial_id)
        return None if record is None else (record[1], self.trials[head.number])


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
            UserError: its trials are not numbered 0, 1, 2, ...
        """
        with self._lock, self.engine.connect() as connection:
            study = self._studies.get(study_id) or _Study()
            if not self._refresh(connection, study_id, study):
                study = _Study()
                if not self._refresh(connection, study_id, study):
                    raise UserError(_misnumbered(connection, study_id))
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
            return known or self._made(head, _parts(connection, [trial_id])[trial_id])

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
        chosen = {"study": study_id, "last": study.last_id, "ids": watched}
        found = connection.execute(_changed, chosen).all()
        heads = sorted(found, key=lambda head: head.trial_id)
        old = {head.trial_id: head for head in heads if head.trial_id <= study.last_id}
        if len(old) < len(watched):
            return False
        if study.anchor is not None:
            if old[study.anchor.trial_id] != study.anchor:
                return False
            heads.remove(study.anchor)
        if not study.fits(heads):
            return False
        if heads:
            every = not study.trials or len(heads) > MOST_IDS
            ids = None if every else [head.trial_id for head in heads]
            parts = _parts(connection, ids, study_id)
            study.take([(head, parts[head.trial_id]) for head in heads], self._made)
        return True

    def _made(self, head: Row[Any], parts: _Parts, before: _Known | None = None) -> FrozenTrial:
        params, values, user_attrs, system_attrs, curve = parts
        then, old = before or (_NOTHING, None)
        if old is not None and then[0] == params:  # what is drawn stays, and the curve grows
            drawn, distributions = old.params, old.distributions
        else:
            distributions = {name: self._distribution(text) for _, name, _, text in params}
            drawn = {name: distributions[name].to_external_repr(v) for _, name, v, _ in params}
        said = old.user_attrs if old is not None and then[2] == user_attrs else _read(user_attrs)
        return FrozenTrial(
            number=head.number,
            state=head.state,
            value=None,
            values=[_number(value, kind) for _, value, kind in values] or None,
            datetime_start=_local(head.datetime_start),
            datetime_complete=_local(head.datetime_complete),
            params=drawn,
            distributions=distributions,
            user_attrs=said,
            system_attrs=_read(system_attrs),
            intermediate_values={step: _number(value, kind) for _, step, value, kind in curve},
            trial_id=head.trial_id,
        )

    def _distribution(self, text: str) -> BaseDistribution:
        found = self._distributions.get(text)
        if found is None:
            found = self._distributions[text] = json_to_distribution(text)
        return found


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


def _misnumbered(connection: Connection, study_id: int) -> str:
    studies = tables.studies.c
    name = connection.scalar(select(studies.study_name).where(studies.study_id == study_id))
    return (
        f"study '{name}': its trials are not numbered 0, 1, 2, ...; one was deleted or numbered by "
        "hand. `sweeps storage check` says more; go on in a new study (sweeps run FILE --name NEW)"
    )


def _read(attrs: Sequence[Any]) -> dict[str, Any]:
    return {key: json.loads(text) for _, key, text in attrs}


def _number(value: float | None, kind: str) -> float:
    return _NOT_FINITE[kind] if value is None else value


def _parts(
    connection: Connection, ids: Sequence[int] | None, study_id: int | None = None
) -> dict[int, _Parts]:
    """What the tables hold of some trials, or (None) of all those of a study, by id."""
    found: dict[int, _Parts] = defaultdict(lambda: ([], [], [], [], []))
    for place, (some, every) in enumerate(_queries):
        query, chosen = (every, {"study": study_id}) if ids is None else (some, {"ids": ids})
        # The driver's own rows: SQLAlchemy's take twice as long, and a study may have 500,000.
        # So an enum is its name here.
        with connection.execute(query, chosen) as result:
            for row in result.cursor.fetchall():
                found[row[0]][place].append(row)
    return found


def _local(moment: datetime | None) -> datetime | None:
    # Stored as naive UTC; Optuna's trials have naive local time.
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _both(table: Table, *names: str, order: str | None = None) -> tuple[Select[Any], Select[Any]]:
    """The rows of the trials with some ids, and those of all trials of a study."""
    query = select(table.c.trial_id, *(table.c[name] for name in names))
    if order is not None:
        query = query.order_by(table.c[order])
    trials = tables.trials.c
    study = select(trials.trial_id).where(trials.study_id == bindparam("study"))
    return query.where(_given(table.c.trial_id)), query.where(table.c.trial_id.in_(study))


def _given(column: ColumnElement[int]) -> ColumnElement[bool]:
    return among(column, bindparam("ids", type_=IDS))


# Made once: a statement costs more to build than a look at few trials costs the database.
_study = tables.trials.c.study_id == bindparam("study")
_changed = union_all(
    _heads().where(_study, tables.trials.c.trial_id > bindparam("last")),
    _heads().where(_study, _given(tables.trials.c.trial_id)),
)
_queries = (
    _both(tables.params, "param_name", "param_value", "distribution_json", order="param_id"),
    _both(tables.values, "value", "value_type", order="objective"),
    _both(tables.user_attrs, "key", "value_json"),
    _both(tables.system_attrs, "key", "value_json"),
    _both(tables.intermediates, "step", "intermediate_value", "intermediate_value_type"),
)
