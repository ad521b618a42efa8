"""Drained trials go on from their checkpoints, and start anew without one, on real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from optuna.trial import FrozenTrial, TrialState

from studies import StudyStorage, open_storage, queries
from studies.deleting import delete_study
from sweeps.engines.base import Point
from sweeps.keeping import Every, Keeping, remove_study
from sweeps.launch import open_sweep
from sweeps.spec import load_spec
from sweeps.tracking import sync
from sweeps.worker import Worker

SPEC = """
name: going
task: counted.py:make
optimizer: [adamw]
schedule: [plateau, cosine]
average: [none, ema]
epochs: 6
run_cap: 3
lanes: 1
seed: 5
early_terminate: none
"""
STEPS = 4  # of an epoch
RARELY = Every(seconds=30.0)
# Each update of the weights leaves a line: what was trained, whatever the study DB says.
COUNTED = """
from pathlib import Path
import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris
from torch import nn
from sweeps import Task

LOG = Path(__file__).with_name("trained.log")


def model():
    layers = (nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    return nn.Sequential(*layers)


def loss(output, target):
    if torch.is_grad_enabled():
        with LOG.open("a") as log:
            log.write("x\\n")
    return F.cross_entropy(output, target)


def make():
    x, y = (torch.from_numpy(array) for array in load_iris(return_X_y=True))
    data = (x.float(), y)
    return Task(model=model, train=data, valid=data, test=data, loss=loss, batch_size=32)


class Odd(torch.optim.SGD):
    '''Its state has something that no file can hold.'''

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        for p in self.param_groups[0]["params"]:
            self.state[p]["seen"] = {1, 2}
"""


@dataclass
class Bench:
    """A sweep in a folder, and workers on it that drain after so many epochs."""

    folder: Path
    url: str
    stack: ExitStack
    warnings: list[str] = field(default_factory=list)

    def work(
        self,
        name: str = "going",
        *,
        drain_after: int = 10**6,
        folder: Path | None = None,
        every: Every | None = RARELY,
    ) -> Worker:
        spec = load_spec(self.folder / "sweep.yaml", {"device": "cpu"})
        sweep = open_sweep(spec, self.url, name)
        self.stack.callback(sweep.storage.close)
        keeping = Keeping(folder or self.folder / "kept", every)
        with Worker(sweep, keeping=keeping, warn=self.warnings.append) as worker:
            worker._feed.report = draining(worker, drain_after)
            worker.run()
        return worker

    def curves(self, name: str = "going") -> Mapping[int, Any]:
        with open_storage(self.url) as storage:
            return queries.curves(storage, name)

    def waiting(self) -> FrozenTrial:
        with open_storage(self.url) as storage:
            trials = storage.get_all_trials(storage.get_study_id_from_name("going"))
            (found,) = [trial for trial in trials if trial.state == TrialState.WAITING]
        return found

    def files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "kept").rglob("*") if path.is_file())

    def steps(self) -> int:
        return len((self.folder / "trained.log").read_text().splitlines())


def draining(worker: Worker, after: int) -> Callable[[Sequence[Point]], set[int]]:
    report = worker._feed.report
    seen = 0

    def counted(points: Sequence[Point]) -> set[int]:
        nonlocal seen
        seen += 1
        if seen == after:
            worker.drain()
        return report(points)

    return counted


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "sweep.yaml").write_text(SPEC)
    (tmp_path / "counted.py").write_text(COUNTED)
    with ExitStack() as stack:
        yield Bench(tmp_path, database_url, stack)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def follow(bench: Bench, uri: str) -> None:
    with open_storage(bench.url) as storage:
        sync(storage, "going", uri)


def runs(uri: str, number: int) -> list[Run]:
    """Every run of a trial, deleted ones too."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("going")
    assert experiment is not None
    wanted = f"tags.trial = '{number}'"
    return list(client.search_runs([experiment.experiment_id], wanted, ViewType.ALL))


def history(uri: str, run: Run) -> list[tuple[int, float]]:
    points = MlflowClient(uri).get_metric_history(run.info.run_id, "valid/loss")
    return sorted((point.step, point.value) for point in points)


def test_a_drained_trial_goes_on_with_the_next_epoch_in_its_run(bench: Bench, uri: str) -> None:
    bench.work("calm")
    assert bench.steps() == 3 * 6 * STEPS
    left = []
    while bench.work(drain_after=5).drained:
        trial = bench.waiting()
        left.append((trial.number, max(trial.intermediate_values)))
        (file,) = bench.files()
        assert file.name.startswith(f"{trial.number}-")
        follow(bench, uri)
        (run,) = runs(uri, trial.number)
        assert (run.info.status, run.data.tags["outcome"]) == ("SCHEDULED", "waiting")
        assert history(uri, run) == list(trial.intermediate_values.items())
    follow(bench, uri)
    assert left == [(0, 5), (1, 4), (2, 3)]
    assert bench.steps() == 2 * 3 * 6 * STEPS
    assert bench.curves() == bench.curves("calm")
    assert (bench.files(), bench.warnings) == ([], [])
    for number, curve in bench.curves().items():
        (run,) = runs(uri, number)
        assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "complete")
        assert history(uri, run) == curve["valid/loss"]


def test_a_run_says_that_it_goes_on(bench: Bench, uri: str) -> None:
    bench.work(drain_after=2)
    follow(bench, uri)
    bench.work(drain_after=1, every=None)  # it starts anew, and waits at epoch 1
    follow(bench, uri)
    statuses = {run.info.lifecycle_stage: run.info.status for run in runs(uri, 0)}
    assert statuses == {"active": "SCHEDULED", "deleted": "SCHEDULED"}
    (active,) = [run for run in runs(uri, 0) if run.info.lifecycle_stage == "active"]
    assert history(uri, active) == list(bench.waiting().intermediate_values.items())


@pytest.mark.parametrize("damage", ["torn", "gone", "none"])
def test_without_a_checkpoint_a_trial_starts_anew(bench: Bench, damage: str) -> None:
    bench.work("calm")
    calm, before = bench.curves("calm"), bench.steps()
    bench.work(drain_after=3)
    (file,) = bench.files()
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "gone":
        file.unlink()
    bench.work(every=None if damage == "none" else RARELY)
    assert bench.curves() == calm
    assert bench.steps() - before == (3 + 18) * STEPS
    assert bench.files() == []
    said = [f"checkpoint {file} is not used: "] if damage == "torn" else []
    assert [text[: len(start)] for text, start in zip(bench.warnings, said, strict=True)] == said


def test_a_folder_that_cannot_be_written_fails_nothing(bench: Bench) -> None:
    bench.work("calm")
    (bench.folder / "file").write_text("")
    nowhere = bench.folder / "file" / "kept"
    bench.work(drain_after=3, folder=nowhere, every=Every(epochs=1))
    worker = bench.work(folder=nowhere, every=Every(epochs=1))
    assert worker.progress.outcomes == {"complete": 3}
    assert bench.curves() == bench.curves("calm")
    written = [text for text in bench.warnings if text.startswith("checkpoints cannot be written")]
    assert len(written) == 2  # once a worker
    assert f"{nowhere}" in written[0]
    assert "Not a directory" in written[0]


def test_a_state_that_no_file_holds_is_said_once(bench: Bench) -> None:
    text = SPEC.replace("[adamw]", "[counted.Odd]").replace("[none, ema]", "none")
    lr = "parameters: {counted.Odd: {parameters: {lr: 0.05}}}\n"
    (bench.folder / "sweep.yaml").write_text(text + lr + "baseline: false\n")
    worker = bench.work(every=Every(epochs=1))
    assert worker.progress.outcomes == {"complete": 3}
    (said,) = bench.warnings
    assert said.startswith("trials like 0 (counted.Odd x ")
    assert "their state has a set at replicas/0/optimizer/state/0/seen, which is neither" in said
    assert bench.files() == []


@pytest.mark.parametrize(("every", "epochs"), [(Every(epochs=2), [2, 4]), (Every(1e-9), [1, 2, 3])])
def test_checkpoints_are_written_when_they_are_due(
    bench: Bench, every: Every, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps import checkpoints

    written = []
    save = checkpoints.save

    def saving(folder: Path, owner: Any, trial: Any, token: int, state: Any) -> Path:
        written.append((trial.number, state.epoch))
        return save(folder, owner, trial, token, state)

    monkeypatch.setattr(checkpoints, "save", saving)
    bench.work(every=every)
    assert [epoch for number, epoch in written if number == 1][: len(epochs)] == epochs
    assert max(epoch for _, epoch in written) == (4 if every.epochs == 2 else 5)


def test_a_study_of_the_same_name_and_id_does_not_go_on_from_a_deleted_ones(
    bench: Bench, storage: StudyStorage
) -> None:
    bench.work(drain_after=3)
    (file,) = bench.files()
    gone = delete_study(storage, "going")
    bench.work("going", drain_after=3)
    if storage.url.get_backend_name() == "sqlite":
        # its id is the deleted one's, and the file of its first trial had the same name
        assert bench.files() == [file]
    assert bench.warnings == []
    assert remove_study(bench.folder / "kept", "going", gone.study_id) == 1
