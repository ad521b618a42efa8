"""At 10,000 trials each named query, and each look of the mirror, goes by an index."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.trial import TrialState
from sqlalchemy import Connection, insert, select, text

from studies import Finish, Report, StudyStorage, SweepRecord, create_sweep, queries, schema, tables
from studies.database import writing
from studies.fences import Fence
from tests.integration.studies.databases import statements

TRIALS = 10_000
RUNNING = range(TRIALS - 4, TRIALS)
# A few rows each, whatever the trials; `json_each` holds the ids that a statement is given.
SMALL = {"studies", "study_directions", "sweeps", "json_each"}
Statement = tuple[str, Any]

QUESTIONS: dict[str, Callable[[StudyStorage, int], object]] = {
    "leaderboard": lambda storage, _: queries.leaderboard(storage, "large"),
    "its top": lambda storage, _: queries.leaderboard(storage, "large", top=10),
    "curves": lambda storage, _: queries.curves(storage, "large"),
    "curves of the top": lambda storage, _: queries.curves(storage, "large", range(10)),
    "one trial": lambda storage, _: queries.trial(storage, "large", 7),
    "status": lambda storage, _: queries.status(storage, "large"),
    "studies": lambda storage, _: queries.studies(storage),
    "looks": lambda storage, study: [storage.get_n_trials(study) for _ in range(2)],
    "get_trial": lambda storage, _: storage.get_trial(1),
}


def _insert(connection: Connection, study_id: int) -> None:
    first = 1 + (connection.scalar(text("SELECT max(trial_id) FROM trials")) or 0)
    began = datetime(2026, 1, 1)
    distribution = distribution_to_json(FloatDistribution(0.0, 1.0))
    ids = range(first, first + TRIALS)
    state = [TrialState.RUNNING if n in RUNNING else TrialState.COMPLETE for n in range(TRIALS)]
    rows = {
        tables.trials: [
            {"trial_id": i, "number": n, "study_id": study_id, "state": state[n],
             "datetime_start": began + timedelta(seconds=n)} for n, i in enumerate(ids)
        ],
        tables.params: [
            {"trial_id": i, "param_name": "lr", "param_value": 0.5,
             "distribution_json": distribution} for i in ids
        ],
        tables.values: [
            {"trial_id": i, "objective": 0, "value": n / TRIALS, "value_type": "FINITE"}
            for n, i in enumerate(ids) if n not in RUNNING
        ],
        tables.intermediates: [
            {"trial_id": i, "step": step, "intermediate_value": 0.5,
             "intermediate_value_type": "FINITE"} for i in ids for step in (1, 2)
        ],
        tables.user_attrs: [
            {"trial_id": i, "key": key, "value_json": value}
            for i in ids for key, value in (("outcome", '"complete"'), ("seconds", "1.5"))
        ],
        tables.system_attrs: [
            {"trial_id": i, "key": "completed_rung_0", "value_json": "0.5"} for i in ids
        ],
        schema.points: [
            {"trial_id": i, "name": name, "step": 1, "value": 0.5}
            for i in ids for name in ("test/loss", "valid/loss")
        ],
    }  # fmt: skip
    for table, some in rows.items():
        connection.execute(insert(table), some)


@pytest.fixture
def large(storage: StudyStorage, record: SweepRecord) -> StudyStorage:
    """A study of 10,000 trials, four of them running, beside a smaller one."""
    storage.create_new_trial(create_sweep(storage, "small", ["minimize"], record))
    study_id = create_sweep(storage, "large", ["minimize"], record)
    with writing(storage.engine).begin() as connection:
        _insert(connection, study_id)
        if connection.dialect.name == "postgresql":  # its own daemon does so; SQLite has none
            connection.execute(text("ANALYZE"))
    return storage


def _looks(statement: Statement) -> bool:
    return statement[0].startswith(("SELECT", "WITH", "UPDATE", "DELETE"))


def _scans(connection: Connection, statement: Statement) -> list[str]:
    """The steps of the statement's plan that read a large table from one end to the other."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])
        steps = [str(row[-1]) for row in rows]
        scans = [step for step in steps if step.startswith("SCAN") and "USING" not in step]
        return [step for step in scans if step.split()[1] not in SMALL]
    # The planner takes an index wherever there is one that fits.
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    rows = connection.exec_driver_sql(f"EXPLAIN {statement[0]}", statement[1])
    return [str(row[0]) for row in rows if "Seq Scan" in row[0]]


def test_each_question_goes_by_an_index(large: StudyStorage) -> None:
    study_id = large.get_study_id_from_name("large")
    for name, ask in QUESTIONS.items():
        with statements(large) as said:
            ask(large, study_id)
        assert said, name
        with large.engine.connect() as connection:
            scans = {
                statement[0]: _scans(connection, statement)
                for statement in said
                if _looks(statement)
            }
        assert [found for found in scans.items() if found[1]] == [], name


def test_each_write_finds_its_trials_by_an_index(large: StudyStorage) -> None:
    trials = large.get_all_trials(large.get_study_id_from_name("large"), deepcopy=False)
    study_id = large.get_study_id_from_name("large")
    running = [trial._trial_id for trial in trials if trial.state == TrialState.RUNNING]
    with statements(large) as said:
        assert large.report([Report(trial, 3, 0.5) for trial in running]) == set()
        assert large.report([Report(running[0], 4, 0.5)], Fence(1, {})) == {running[0]}
        assert large.hand_back(study_id, running[:1]) == [RUNNING[0]]
        assert large.finish([Finish(running[1], TrialState.FAIL)]) == set()
    with large.engine.connect() as connection:
        scans = {
            statement[0]: _scans(connection, statement) for statement in said if _looks(statement)
        }
    assert len(scans) >= 8
    assert [found for found in scans.items() if found[1]] == []


def test_a_question_without_an_index_is_seen(large: StudyStorage) -> None:
    params = tables.params.c
    with statements(large) as said, large.engine.connect() as connection:
        connection.execute(select(params.trial_id).where(params.param_value > 0.25))
    with large.engine.connect() as connection:
        assert len(_scans(connection, said[-1])) == 1
