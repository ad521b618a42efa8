"""Reports on PostgreSQL, one statement each, while another transaction has their trials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, event, select, update

from studies import (
    Finish,
    Holding,
    Report,
    StudyStorage,
    SweepRecord,
    create_sweep,
    open_storage,
    register,
    schema,
    tables,
)
from studies.batches import POINTS
from studies.guarded import upsert_running
from tests.integration.studies.databases import statements
from tests.waiting import wait_for

FOLLOWERS = """SELECT count(*) FROM pg_locks
    WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"""


@dataclass
class Scene:
    """A worker with two trials; another worker."""

    storage: StudyStorage
    study_id: int
    mine: Holding
    other: Holding
    first: int
    second: int

    def report(self, step: int = 2) -> set[int]:
        """What is refused of a report of both trials."""
        points = [Report(id_, step, 0.25, {"valid/loss": 2.0}) for id_ in (self.first, self.second)]
        return self.storage.report(points, self.mine.fence)

    def delete(self) -> None:
        """Deletes the study, as `optuna.delete_study` does."""
        self.storage.delete_study(self.study_id)

    @property
    def optuna(self) -> Engine:
        """The engine of Optuna's own storage."""
        engine: Engine = self.storage.inner.engine  # type: ignore[attr-defined]
        return engine

    def written(self) -> list[tuple[int, int]]:
        """Trials and steps, as the objective and the other metric have them."""
        found = []
        with self.storage.engine.connect() as connection:
            for table in (tables.intermediates, schema.points):
                rows = connection.execute(select(table.c.trial_id, table.c.step))
                found.append(sorted((row.trial_id, row.step) for row in rows))
        assert found[0] == found[1]
        return found[0]


@pytest.fixture
def scene(postgres_db: str, record: SweepRecord) -> Iterator[Scene]:
    with open_storage(postgres_db) as storage:
        study_id = create_sweep(storage, "digits", ["maximize"], record)
        mine, other = (Holding(storage, register(storage, study_id)) for _ in range(2))
        first, second = (lease.trial_id for lease in mine.claim(2, places=2).leases)
        made = Scene(storage, study_id, mine, other, first, second)
        assert made.report(step=1) == set()
        yield made


def meanwhile(engine: Engine, transaction: Callable[[], Any], call: Callable[[], Any]) -> Any:
    """What `call` returns, which begins before `transaction` commits, and waits for its locks."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))

    def hold(connection: Connection) -> None:
        if thread.ident is None:
            thread.start()
            wait_for(lambda: connection.exec_driver_sql(FOLLOWERS).scalar_one(), 20.0)

    event.listen(engine, "commit", hold)
    transaction()
    thread.join()
    event.remove(engine, "commit", hold)
    return found[0]


def taken_over(scene: Scene) -> None:
    (lease,) = scene.other.claim(1, places=2).leases
    assert (lease.trial_id, lease.token) == (scene.first, 2)


def ended_by_optuna(scene: Scene) -> None:
    assert scene.storage.set_trial_state_values(scene.first, TrialState.COMPLETE, [0.5])


def ended(scene: Scene) -> None:
    assert scene.storage.finish([Finish(scene.first, TrialState.FAIL)]) == set()


def handed_back(scene: Scene) -> None:
    assert scene.storage.hand_back(scene.study_id, [scene.first]) == [0]


@pytest.mark.parametrize("other", [taken_over, ended_by_optuna, ended, handed_back])
def test_a_trial_that_is_lost_while_its_report_waits_is_refused(
    scene: Scene, other: Callable[[Scene], None]
) -> None:
    leases = schema.leases
    with scene.storage.engine.begin() as connection:
        expired = update(leases).where(leases.c.trial_id == scene.first)
        connection.execute(expired.values(expires_at=schema.utc_in(-1.0)))
    engine = scene.optuna if other is ended_by_optuna else scene.storage.engine
    assert meanwhile(engine, lambda: other(scene), scene.report) == {scene.first}
    assert scene.written() == [(scene.first, 1), (scene.second, 1), (scene.second, 2)]
    assert scene.report(step=3) == {scene.first}


def test_a_study_that_is_deleted_while_a_report_waits_leaves_nothing(scene: Scene) -> None:
    refused = meanwhile(scene.optuna, scene.delete, scene.report)
    assert refused == {scene.first, scene.second}
    assert scene.written() == []


def test_a_report_that_waits_for_a_heartbeat_is_written(scene: Scene) -> None:
    assert meanwhile(scene.storage.engine, scene.mine.renew, scene.report) == set()
    assert len(scene.written()) == 4


def test_a_study_whose_deletion_waits_for_a_report_takes_it_along(scene: Scene) -> None:
    def report() -> None:
        points = [(scene.first, "valid/loss", 2, 0.5), (scene.second + 1, "valid/loss", 2, 0.5)]
        ids = [scene.first, scene.second + 1]
        with scene.storage.engine.begin() as connection:
            kept = upsert_running(connection, ids, None, [(POINTS, points)])
        assert kept == {scene.first}

    meanwhile(scene.storage.engine, report, scene.delete)
    assert scene.written() == []


@pytest.mark.parametrize(
    "how",
    [
        ("TRUNCATE studies CASCADE",),
        (
            "SET LOCAL search_path = pg_catalog",
            "DELETE FROM public.trial_intermediate_values",
            "DELETE FROM public.trials",
        ),
    ],
)
def test_points_go_with_their_trials(scene: Scene, how: tuple[str, ...]) -> None:
    with scene.storage.engine.begin() as connection:
        for statement in how:
            connection.exec_driver_sql(statement)
    assert scene.written() == []


def test_a_report_is_one_statement_and_a_repeated_one_two(scene: Scene) -> None:
    with statements(scene.storage) as said:
        assert scene.report() == set()
        assert len(said) == 1
        assert scene.report() == set()
    assert len(said) == 3
    assert len(scene.written()) == 4


def test_reports_without_a_metric_or_without_any_are_refused_alike(scene: Scene) -> None:
    storage, fence = scene.storage, scene.mine.fence
    here, nobody = scene.first, scene.second + 1
    for point in (Report(here, 2, 0.5), Report(here, 2, None, {"a": 1.0}), Report(here, 2, None)):
        points = [point, replace(point, trial_id=nobody)]
        assert storage.report(points, fence) == {nobody}
        assert storage.report(points) == {nobody}
        assert storage.report(points, scene.other.fence) == {here, nobody}
    assert storage.report([], fence) == set()
