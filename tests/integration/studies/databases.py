"""Study DBs with everything in them that is hard to copy, and how they are read without us."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import optuna
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from sqlalchemy import Boolean, Connection, DateTime, create_engine, event, inspect, text

from studies import (
    Finish,
    Report,
    StudyStorage,
    SweepRecord,
    claim,
    create_sweep,
    open_storage,
    register,
    schema,
    sign_off,
    standing,
)
from studies.database import writing
from studies.schema import Status

MakeUrl = Callable[[str], str]

HARD_FLOATS = (0.1 + 0.2, 5e-324, 1.7976931348623157e308, 1 / 3, 1e-5, 123456789.123456789)
RECORD = SweepRecord(
    spec_text="task: iris-mlp  # größer, 'quoted' \\ \"twice\"\n",
    spec_file=None,
    spec={"metric": {"name": "valid/accuracy"}, "text": "ü\n\t'\"\\", "null": None, "n": 1e-05},
    space={"knobs": {}},
    seed=7,
    environment={"python": "3.11", "true": True},
    git_dirty=False,
)


def fill(url: str) -> None:
    """Two studies and 12 trials: every state, every kind of number, NULLs, text, booleans."""
    space = {
        "lr": FloatDistribution(1e-320, 1.0, log=True),
        "n": IntDistribution(1, 9),
        "o": CategoricalDistribution(("adam", None, True, 0.5)),
    }
    with open_storage(url) as storage:
        create_sweep(storage, "gone", ["minimize"], RECORD)
        study_id = create_sweep(storage, "digits", ["maximize", "minimize"], RECORD)
        storage.delete_study(1)  # ids do not begin with 1
        other = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "plain ü")
        storage.set_study_user_attr(study_id, "elapsed", 0.1 + 0.2)
        storage.set_study_system_attr(other, "a", {"b": [None, "ü"]})
        template = create_trial(
            state=TrialState.RUNNING,
            params={"lr": 1e-320, "n": 3, "o": None},
            distributions=space,
            user_attrs={"text": "ü ' \" \\ \n", "nan": math.nan},
        )
        trials = [storage.create_new_trial(study_id, template) for _ in range(10)]
        storage.create_new_trial(other)
        for step, value in enumerate((*HARD_FLOATS, math.inf, -math.inf, math.nan, 0.0), start=1):
            more = {"valid/loss": value, "test/größe": -value or 0.0, "zero": 0.0}
            storage.report([Report(trial, step, value, more) for trial in trials[:8]])
        storage.finish(
            [
                Finish(trials[0], TrialState.COMPLETE, [math.inf, -math.inf]),
                Finish(trials[1], TrialState.COMPLETE, [5e-324, 0.1 + 0.2]),
                Finish(trials[2], TrialState.PRUNED, None, {"outcome": "diverged"}, {"c": 1.0}),
                Finish(trials[3], TrialState.FAIL, None, {"traceback": "x\n" * 500}),
            ]
        )
        storage.hand_back(study_id, trials[4:])
        claim(storage, worker := register(storage, study_id), 2)
        sign_off(storage, worker, "drained")
        with storage.engine.begin() as connection:
            for trial, closed in ((None, False), (trials[0], True)):
                row = {"study_id": study_id, "trial_id": trial, "tracking_uri": "sqlite:///m.db"}
                values = {**row, "run_id": "a1", "last_step": -1, "closed": closed}
                connection.execute(schema.exports.insert().values(values))
            beat = datetime.now(UTC).replace(tzinfo=None)
            connection.execute(
                text("INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (:t, :b)"),
                {"t": trials[5], "b": beat},
            )


def contents(url: str) -> dict[str, Any]:
    """Every study with its trials as plain Optuna reads them, and our rows as plain SQL does."""
    storage = optuna.storages.RDBStorage(url)
    found: dict[str, Any] = {}
    for study in optuna.study.get_all_study_summaries(storage):
        loaded = optuna.load_study(study_name=study.study_name, storage=storage)
        trials = [_sorted(trial) for trial in loaded.get_trials(deepcopy=False)]
        found[study.study_name] = (
            loaded._study_id,
            loaded.directions,
            loaded.user_attrs,
            storage.get_study_system_attrs(loaded._study_id),
            trials,
        )
    with storage.engine.connect() as connection:
        points = connection.execute(text("SELECT trial_id, name, step, value FROM points"))
        found["points"] = sorted(map(repr, points))
        sweeps = "study_id, spec_text, spec_file, CAST(spec AS TEXT) s, seed, status, git_dirty"
        rows = connection.execute(text(f"SELECT {sweeps} FROM sweeps")).all()
        found["sweeps"] = [(*row[:-1], bool(row.git_dirty)) for row in rows]
        exports = "export_id, study_id, trial_id, tracking_uri, run_id, last_step, closed"
        rows = connection.execute(text(f"SELECT {exports} FROM exports")).all()
        found["exports"] = sorted(repr((*row[:-1], bool(row.closed))) for row in rows)
        for name in ("workers", "leases", "claims"):
            columns = schema.metadata.tables[name].columns
            some = [c.name for c in columns if not isinstance(c.type, Boolean | DateTime)]
            rows = connection.execute(text(f"SELECT {', '.join(some)} FROM {name}"))
            found[name] = sorted(map(repr, rows))
    storage.remove_session()
    storage.engine.dispose()
    return found


def _sorted(trial: optuna.trial.FrozenTrial) -> str:
    """Everything in a trial; neither database promises an order of its attributes."""
    return repr(
        {
            name: dict(sorted(value.items())) if isinstance(value, dict) else value
            for name, value in vars(trial).items()
        }
    )


def set_status(storage: StudyStorage, study_id: int, status: Status) -> None:
    """Writes where a sweep stands, as if its workers had."""
    with writing(storage.engine).begin() as connection:
        standing.set_status(connection, study_id, status)


def hand_all_back(storage: StudyStorage, study_id: int) -> list[int]:
    """Hands every RUNNING trial of a study back, whoever has it."""
    ids = [trial._trial_id for trial in storage.get_all_trials(study_id, deepcopy=False)]
    return storage.hand_back(study_id, ids)


@contextmanager
def statements(storage: StudyStorage) -> Iterator[list[tuple[str, Any]]]:
    """What our own engine sends in the body: each statement and its parameters."""
    said: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    event.listen(storage.engine, "before_cursor_execute", note)
    yield said
    event.remove(storage.engine, "before_cursor_execute", note)


def differences(connection: Connection) -> list[Any]:
    """What our tables have otherwise than `schema` says, as Alembic finds it."""
    names = schema.metadata.tables

    def includes(found: Any, _name: str | None, kind: str, *_: Any) -> bool:
        is_key = kind == "foreign_key_constraint" and connection.dialect.name == "postgresql"
        return not (is_key and found.table.name == "points")  # it has a trigger

    options = {
        "include_name": lambda name, kind, _: kind != "table" or name in names,
        "include_object": includes,
        "compare_server_default": True,
    }
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, schema.metadata))


def leftovers(url: str) -> list[str]:
    """Tables, and on PostgreSQL types, sequences and functions, in a database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = inspect(connection).get_table_names()
        if engine.dialect.name == "postgresql":
            types = "SELECT typname FROM pg_type WHERE typtype = 'e'"
            sequences = "SELECT relname FROM pg_class WHERE relkind = 'S'"
            own = "SELECT proname FROM pg_proc WHERE proname LIKE 'sweeplane%'"
            found += connection.scalars(text(f"{types} UNION {sequences} UNION {own}")).all()
    engine.dispose()
    return found
