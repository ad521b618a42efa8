"""A look at a search space before training: samples of each knob, curves of the schedules."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.space import Knob, Space

if TYPE_CHECKING:
    from sweeps.config import Config

SAMPLES = 1000
STEPS = 200  # points of a schedule's curve


@dataclass
class Samples:
    """The effective values that one knob took; `log` where its axis is logarithmic."""

    label: str
    log: bool = False
    values: list[Any] = field(default_factory=list)

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers and not names or switches."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    def histogram(self, bins: int) -> list[int]:
        """Return how many samples fall into each cell: `bins` equal ones, or one a name."""
        import numpy as np

        if not self.numeric:
            return [count for _, count in sorted(Counter(map(str, self.values)).items())]
        numbers = np.asarray(self.values, dtype=float)
        counts, _ = np.histogram(np.log(numbers) if self.log else numbers, bins=bins)
        return [int(count) for count in counts]


def draw(space: Space, *, seed: int) -> list[dict[str, Any]]:
    """Return `SAMPLES` random points of the space, as sampled values."""
    import optuna

    logging.getLogger("optuna").setLevel(logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.suggest(study.ask()) for _ in range(SAMPLES)]


def samples_of(space: Space, points: Sequence[dict[str, Any]]) -> list[Samples]:
    """Return the values of each dimension over the points that have it."""
    knobs = [knob for knob in space.knobs if knob.searched]
    found = {name: Samples(name) for name in space.branching}
    found |= {knob.label: Samples(knob.label, _is_log(knob)) for knob in knobs}
    for point in points:
        for name in space.branching:
            found[name].values.append(point[name])
        for knob in space.active_knobs(point):
            if knob.searched:
                found[knob.label].values.append(knob.value(point))
    return list(found.values())


def _is_log(knob: Knob) -> bool:
    """Whether the knob itself, and not one minus it, is sampled on a log scale."""
    own = knob.distribution.sampled_name(knob.name) == knob.name
    return own and bool(getattr(knob.distribution.optuna(), "log", False))


def schedule_curve(config: Config) -> list[float]:
    """Return the factor on the learning rate at `STEPS` steps of a training, with the average's."""
    import torch

    from optimizers import AVERAGES, SCHEDULES

    def lane(value: float) -> torch.Tensor:
        return torch.tensor([float(value)], dtype=torch.float64)

    schedule = SCHEDULES[config.schedule]
    values = {name: hyper.default for name, hyper in schedule.hypers.items()}
    hypers = {k: lane(v) for k, v in (values | dict(config.schedule_hypers)).items()}
    state = {name: lane(value) for name, value in schedule.initial_state.items()}
    t, total = torch.arange(STEPS, dtype=torch.float64), lane(STEPS)

    def scheduled(t: torch.Tensor) -> torch.Tensor:
        return schedule.factor(t, total, hypers, state)

    average = AVERAGES.get(config.average)
    if average is None:
        factor = scheduled(t)
    else:
        own = {name: lane(value) for name, value in config.average_hypers.items()}
        factor = average.lr_factor(t, total, own, scheduled)
    curve: list[float] = factor.expand(STEPS).tolist()
    return curve


def save_png(space: Space, samples: Sequence[Samples], configs: Sequence[Config], to: Path) -> None:
    """Draw a histogram a knob and some curves a schedule, to a PNG file."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    columns = 4
    rows = -(-(len(samples) + len(space.schedules)) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4 * columns, 2.6 * rows), squeeze=False, layout="constrained"
    )
    axes = iter(grid.flat)
    for one in samples:
        _draw_histogram(next(axes), one)
    for schedule in space.schedules:
        axis = next(axes)
        for config in [config for config in configs if config.schedule == schedule][:24]:
            axis.plot([i / STEPS for i in range(STEPS)], schedule_curve(config), alpha=0.6, lw=1)
        axis.set_title(f"{schedule}: factor on lr over the training", fontsize=10)
        axis.tick_params(labelsize=8)
    for axis in axes:
        axis.axis("off")
    figure.savefig(to, dpi=110)
    plt.close(figure)


def _draw_histogram(axis: Any, samples: Samples) -> None:
    import numpy as np

    axis.set_title(samples.label, fontsize=10)
    axis.tick_params(labelsize=8)
    values = samples.values
    if not samples.numeric:
        counts = Counter(map(str, values))
        axis.bar(list(counts), list(counts.values()))
    elif samples.log:
        axis.hist(values, bins=list(np.geomspace(min(values), max(values), 31)))
        axis.set_xscale("log")
    else:
        axis.hist(values, bins=30)
