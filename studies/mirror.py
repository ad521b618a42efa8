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

import itertools
import json
import math
import operator
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optuna.distributions import json_to_distribution
from optuna.trial import FrozenTrial
from sqlalchemy import select

from studies import tables
from studies.errors import GoneError, UserError
from studies.retrying import retried
from studies.trial_rows import CHANGED, Parts, parts_of, select_heads

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy import Connection, Engine, Row

MOST_IDS = 10_000  # to look for one by one; above it, all trials of the study are read

_NOTHING: Parts = ([], [], [], [], [])
_NOT_FINITE = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}

_Record = tuple["Row[Any]", Parts]
_Known = tuple[Parts, FrozenTrial]


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

    def has_open(self, head: Row[Any]) -> bool:
        """Whether the trial was open before, in the same state."""
        return head.trial_id in self.open and self.open[head.trial_id][0] == head

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
    def trials(self, study_id: int, again: Collection[int] | None = None) -> list[FrozenTrial]:
        """Every trial of the study as the database has it now, by number: not to be changed.

        Of trials that are as open as before, only those whose ids are in `again` are read `again`
        (None: all); the others may lack what was written since the last look.

        Raises:
            GoneError: no such study.
            UserError: its trials are not numbered 0, 1, 2, ...
        """
        with self._lock, self.engine.connect() as connection:
            study = self._studies.get(study_id) or _Study()
            if not self._refresh(connection, study_id, study, again):
                study = _Study()
                if not self._refresh(connection, study_id, study, again):
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
            query = select_heads().where(tables.trials.c.trial_id == trial_id)
            head = connection.execute(query).one_or_none()
            if head is None:
                raise GoneError(f"no trial has the id {trial_id}")
            known = self._finished(head)
            return known or self._made(head, parts_of(connection, [trial_id])[trial_id])

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

    def _refresh(
        self, connection: Connection, study_id: int, study: _Study, again: Collection[int] | None
    ) -> bool:
        """Reads what changed; False when `study` is another one than the database has by now."""
        watched = study.watched()
        if len(watched) > MOST_IDS:
            return False
        chosen = {"study": study_id, "last": study.last_id, "ids": watched}
        found = connection.execute(CHANGED, chosen).all()
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
        if again is not None:
            heads = [h for h in heads if h.trial_id in again or not study.has_open(h)]
        if heads:
            every = not study.trials or len(heads) > MOST_IDS
            ids = None if every else [head.trial_id for head in heads]
            parts = parts_of(connection, ids, study_id)
            study.take([(head, parts[head.trial_id]) for head in heads], self._made)
        return True

    def _made(self, head: Row[Any], parts: Parts, before: _Known | None = None) -> FrozenTrial:
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


def _local(moment: datetime | None) -> datetime | None:
    # Stored as naive UTC; Optuna's trials have naive local time.
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
