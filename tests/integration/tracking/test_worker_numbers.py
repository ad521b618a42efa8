"""What the workers do, as metrics of MLflow's parent run while the sweep runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_reads import history, parent_run
from sqlalchemy import update

from studies import Registered, register, renew, schema, sign_off
from sweeps.engines.tally import PHASES
from sweeps.numbers import Numbers
from sweeps.tracking.exporter import Exporter
from sweeps.tracking.numbers import EVERY_SECONDS

SHARES = dict.fromkeys(PHASES, 0.0)
NAMES = ("lanes_in_use", "steps_per_second", "share_training")


def beat(study: Any, worker: Registered, pace: float, at: float) -> None:
    """A heartbeat with numbers, when the sweep's clock stands at `at` seconds."""
    shares = SHARES | {"training": pace / 100}
    said = Numbers(3, 4, 10, 320, 1.0, pace, 32 * pace, shares)
    renew(study.storage, worker, {}, said.as_json())
    moment = datetime(2026, 1, 1, 0, 0, int(at))
    with study.storage.engine.begin() as connection:
        connection.execute(update(schema.sweeps).values(elapsed_seconds=at, elapsed_at=moment))


@pytest.fixture
def workers(study: Any) -> list[Registered]:
    return [register(study.storage, study.study_id) for _ in range(2)]


def points(uri: str, name: str) -> list[tuple[int, float]]:
    client = MlflowClient(uri)
    return history(client, parent_run(client), name)


def test_they_are_sums_over_workers_at_the_sweeps_seconds(
    study: Any, workers: list[Registered], uri: str
) -> None:
    exporter = Exporter(study.storage, "digits", uri)
    exporter.run()
    assert points(uri, "lanes_in_use") == []  # nobody has said any
    for worker, pace in zip(workers, (20.0, 60.0), strict=True):
        beat(study, worker, pace, 7.5)
    exporter.run(refresh=False)
    found = {name: points(uri, name) for name in NAMES}
    assert found == {
        "lanes_in_use": [(7, 6.0)],
        "steps_per_second": [(7, 80.0)],
        "share_training": [(7, pytest.approx(0.4))],
    }


def test_one_in_a_few_seconds_the_same_once_and_none_after_the_end(
    study: Any, workers: list[Registered], uri: str
) -> None:
    exporter = Exporter(study.storage, "digits", uri)
    beat(study, workers[0], 20.0, 7.5)
    exporter.run()
    Exporter(study.storage, "digits", uri).run()  # after a failure: it knows of no point
    beat(study, workers[0], 30.0, 7.5 + EVERY_SECONDS - 1)
    exporter.run()
    beat(study, workers[0], 40.0, 7.5 + EVERY_SECONDS)
    exporter.run()
    expected = [(7, 20.0), (7 + EVERY_SECONDS, 40.0)]
    assert points(uri, "steps_per_second") == expected
    beat(study, workers[0], 50.0, 30.0)
    for worker in workers:
        sign_off(study.storage, worker, "finished")
    exporter.run()
    assert points(uri, "steps_per_second") == expected
