"""A lane's average of the weights as a replica's, and back: a trial moves with its average."""

from __future__ import annotations

import torch

from optimizers.weight_average import LaneAverages
from sweeps.engines.evaluation import WRAPPED, Averaged
from sweeps.engines.lanes.judging import Judge
from sweeps.engines.lanes.stack import Stack


def fill_average(
    average: Averaged, lane: int, stack: Stack, averages: LaneAverages, judge: Judge
) -> None:
    """Bring a fresh replica's average to where the lane's is."""
    state = average.state_dict()
    own = stack.split(averages.average[lane])
    weights = state["weights"]
    taken = {f"{WRAPPED}{name}": x for name, x in own.items()}
    statistics = judge.statistics(lane)
    weights = {
        **weights,
        "steps": int(averages.steps[lane]),
        "averaged": int(averages.averaged[lane]),
        "average": {**weights["average"], **taken},
        "statistics": {f"{WRAPPED}{name}": x for name, x in statistics.items()},
    }
    average.load_state_dict({"weights": weights, "calibrated": judge.calibrated(lane)})


def take_average(
    average: Averaged, lane: int, stack: Stack, averages: LaneAverages, judge: Judge
) -> None:
    """Go on in a lane with a replica's average."""
    state = average.state_dict()
    weights = state["weights"]
    names = stack.split(stack.flat[lane])
    parts = [weights["average"][f"{WRAPPED}{name}"].reshape(-1) for name in names]
    averages.average[lane] = torch.cat(parts)
    averages.steps[lane] = weights["steps"]
    averages.averaged[lane] = weights["averaged"]
    own = {name.removeprefix(WRAPPED): x for name, x in weights["statistics"].items()}
    judge.remember(lane, own, state["calibrated"])
