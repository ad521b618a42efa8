"""What a sweep would take: a few steps of one trial, and the arithmetic over its budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies import UserError
from sweeps.engines.lanes.ladder import Ladder
from sweeps.engines.lanes.trying import Trying
from sweeps.forecast import epoch_seconds, forecast, least_epochs
from sweeps.spec import load_spec
from sweeps.spec.models import EarlyTerminate

TRIED = Trying(
    reason="",
    ladder=Ladder({2: 0.003, 8: 0.004}, alone=0.002),
    steps=100,
    evaluation_seconds=0.05,
    parameters=131,
    model_bytes=524,
    process_bytes=10**8,
)

LSTM = """
import torch
import torch.nn.functional as F
from torch import nn
from sweeps import Task


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def make():
    x, y = torch.rand(64, 5, 4), torch.arange(64) % 3
    return Task(model=Tagger, train=(x, y), valid=(x, y), loss=F.cross_entropy)


def breaks():
    def loss(output, target):
        raise ValueError("no such class")

    return Task(**{**vars(make()), "loss": loss})
"""


@pytest.mark.parametrize(
    ("rule", "mean"),
    [
        ({"type": "asha", "eta": 3}, 3 + 6 / 3 + 18 / 9 + 3 / 27),
        ({"type": "asha", "eta": 2}, 3 + 3 / 2 + 6 / 4 + 12 / 8 + 6 / 16),
        ({"type": "hyperband", "min_iter": 4, "eta": 2.5}, 4 + 6 / 2.5 + 15 / 6.25 + 5 / 15.625),
        ({"type": "none"}, 30),
        ({"type": "median"}, None),
        ({"type": "patience"}, None),
    ],
)
def test_the_best_case_keeps_one_of_eta_at_each_rung(
    rule: dict[str, object], mean: float | None
) -> None:
    found = least_epochs(EarlyTerminate.model_validate(rule), epochs=30, first=3)
    assert found == (None if mean is None else pytest.approx(mean))


def test_a_pruner_without_a_rung_saves_nothing() -> None:
    assert least_epochs(EarlyTerminate(), epochs=3, first=3) == 3


def test_an_epoch_is_its_steps_and_an_evaluation_both_shorter_in_lanes() -> None:
    assert epoch_seconds(TRIED, Ladder({}, 0.002)) == pytest.approx(100 * 0.002 + 0.05)
    assert epoch_seconds(TRIED, TRIED.ladder) == pytest.approx((100 * 0.002 + 0.05) / 4)
    assert epoch_seconds(TRIED, TRIED.ladder.up_to(2)) == pytest.approx(0.25 * 0.003 / 2 / 0.002)


def write(folder: Path, text: str) -> Path:
    (folder / "own.py").write_text(LSTM)
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


IRIS = """
task: iris-mlp
method: random
optimizer: [torch.optim.NAdam, adamw]
early_terminate: {type: asha, min_epochs: 1, eta: 2}
device: cpu
epochs: 4
repeats: 2
run_cap: 20
parameters:
  batch_size: {values: [8, 16]}
  hidden: {values: [8, 16]}
  adamw: {parameters: {amsgrad: {values: [true, false]}}}
"""


def test_a_task_whose_trials_share_lanes(tmp_path: Path) -> None:
    found = forecast(load_spec(write(tmp_path, IRIS)), workers=2)
    tried = found.tried
    assert (found.config.optimizer, found.config.batch_size) == ("adamw", 8)
    assert tried.steps == 90 // 8
    hidden = found.config.task_args["hidden"]
    assert tried.parameters == 4 * hidden + hidden + hidden * 3 + 3
    assert tried.model_bytes == 4 * tried.parameters
    assert tried.process_bytes > 10**7
    assert tried.evaluation_seconds > 0
    assert tried.ladder.alone > 0
    assert 1 <= found.lanes <= 10
    assert found.most.epochs == 20 * 2 * 4
    assert found.least is not None
    assert found.least.epochs == 20 * 2 * (1 + 1 / 2 + 2 / 4)
    assert found.most.device_seconds == 2 * found.most.seconds
    assert found.most.device_hours == found.most.device_seconds / 3600
    assert found.splitting == ("batch_size", "hidden")
    assert found.switches == ("adamw.amsgrad",)
    assert found.apart == ("torch.optim.NAdam",)


def test_what_does_not_share_lanes_says_why(tmp_path: Path) -> None:
    path = write(tmp_path, "task: own.py:make\nrun_cap: 4\ndevice: cpu\nepochs: 2\n")
    found = forecast(load_spec(path), workers=1)
    assert "torch.vmap" in found.tried.reason
    assert found.lanes == 1
    assert found.tried.ladder.seconds == {}
    assert 0 < found.tried.ladder.alone < 1
    foreign = load_spec(path, {"optimizer": "torch.optim.NAdam"})
    reason = forecast(foreign, workers=1).tried.reason
    assert reason == "optimizer torch.optim.NAdam is of another library"


def test_lanes_that_the_file_does_not_want(tmp_path: Path) -> None:
    found = forecast(load_spec(write(tmp_path, IRIS), {"lanes": 1}), workers=1)
    assert found.lanes == 1
    few = forecast(load_spec(write(tmp_path, IRIS), {"lanes": 2}), workers=1)
    assert few.lanes <= 2


def test_a_grid_ends_before_the_budget() -> None:
    spec = load_spec(Path(__file__).parents[3] / "examples" / "grid.yaml", {"epochs": 2})
    found = forecast(spec, workers=1)
    assert found.trials == 16 + 1  # and the baseline
    assert found.most.epochs == 17 * 2
    assert found.least == found.most


def test_a_task_whose_step_fails_is_refused(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, "task: own.py:breaks\nrun_cap: 4\n"))
    with pytest.raises(UserError, match=r"task 'own.py:breaks': .*ValueError: no such class"):
        forecast(spec, workers=1)
