"""The mistakes that the schedulers refuse, each with what was given and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lr_scheduler_runs import optimizer, ours

from optimizers import build_scheduler

WHOLE = r" is invalid; it must lie in \[1, inf\), a whole number"
FROM_0 = r" is invalid; it must lie in \[0, inf\)"
PART = r" is invalid; it must lie in \[0, 1\]"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda o: ours.StepLR(o, 0), "step_size = 0" + WHOLE),
        (lambda o: ours.StepLR(o, 2.5), r"step_size = 2\.5" + WHOLE),
        (lambda o: ours.StepLR(o, 3, gamma=-1), "gamma = -1" + FROM_0),
        (lambda o: ours.MultiStepLR(o, [3, -1]), "milestones = -1" + FROM_0),
        (lambda o: ours.MultiStepLR(o, [3], gamma=-1), "gamma = -1" + FROM_0),
        (lambda o: ours.ConstantLR(o, 1.5), r"factor = 1\.5" + PART),
        (lambda o: ours.ConstantLR(o, total_iters=0), "total_iters = 0" + WHOLE),
        (lambda o: ours.LinearLR(o, 0), r"start_factor = 0 is invalid; it must lie in \(0, 1\]"),
        (lambda o: ours.LinearLR(o, end_factor=-1), "end_factor = -1" + PART),
        (lambda o: ours.LinearLR(o, total_iters=0), "total_iters = 0" + WHOLE),
        (lambda o: ours.ExponentialLR(o, float("nan")), "gamma = nan" + FROM_0),
        (lambda o: ours.PolynomialLR(o, 0), "total_iters = 0" + WHOLE),
        (lambda o: ours.PolynomialLR(o, power=-1), "power = -1" + FROM_0),
        (lambda o: ours.CosineAnnealingLR(o, 0), "T_max = 0" + WHOLE),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 0), "T_0 = 0" + WHOLE),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 2, 1.5), r"T_mult = 1\.5" + WHOLE),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 2).step(-1), "epoch = -1" + FROM_0),
        (lambda o: ours.WSDLR(o, -1, 2, 3), "warmup_steps = -1" + FROM_0),
        (lambda o: ours.WSDLR(o, 1, 2, 0), "decay_steps = 0" + WHOLE),
        (lambda o: ours.WSDLR(o, 1, 2, 3, 1.5), r"final_factor = 1\.5" + PART),
        (lambda o: ours.InverseSquareRootLR(o, 0), r"timescale = 0 .* \(0, inf\)\. Without a warm"),
        (lambda o: ours.InvScalingLR(o, -1), "power_t = -1" + FROM_0),
        (lambda o: ours.OneCycleLR(o, 0.1), "total_steps = None is invalid; give it, or both epo"),
        (lambda o: ours.OneCycleLR(o, 0.1, 0), "total_steps = 0" + WHOLE),
        (lambda o: ours.OneCycleLR(o, 0.1, None, 3, 0), "steps_per_epoch = 0" + WHOLE),
        (lambda o: ours.OneCycleLR(o, 0.1, 9, pct_start=1.0), r"pct_start = 1\.0 .*in \[0, 1\)"),
        (lambda o: ours.OneCycleLR(o, [0.1], 9), r"max_lr = \[0\.1\] .* have 2 values, one a gro"),
        (
            lambda o: ours.OneCycleLR(o, 0.1, 9, anneal_strategy="cosine"),
            "anneal_strategy = 'cosine' is invalid; it must be one of cos, linear",
        ),
        (lambda o: ours.CyclicLR(o, 0.1, 1, 0), r"step_size_up = 0 .* lie in \(0, inf\)"),
        (lambda o: ours.CyclicLR(o, 0.1, 1, mode="round"), "mode = 'round' .* triangular, triang"),
        (
            lambda o: ours.CyclicLR(o, 0.1, 1, scale_fn=abs, scale_mode="step"),
            "scale_mode = 'step' is invalid; it must be one of cycle, iterations",
        ),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1.0), r"factor = 1\.0 .* lie in \[0, 1\)"),
        (lambda o: ours.ReduceLROnPlateau(o, patience=1.5), r"patience = 1\.5 .* a whole number"),
        (lambda o: ours.SequentialLR(o, [ours.ReduceLROnPlateau(o)], []), "ReduceLROnPlateau"),
        (lambda o: ours.ChainedScheduler([], o), "at least one scheduler"),
        (lambda o: build_scheduler("cosin", o, 9, {}), "'cosin' is unknown; did you mean 'cosine'"),
        (lambda o: build_scheduler("step", o, 0, {}), "total_steps = 0" + WHOLE),
        (lambda o: build_scheduler("step", o, 9, {"patience": 1}), "step has no hyperparameter"),
        (
            lambda o: build_scheduler("one_cycle", o, 9, {"warmup_fraction": 0.1}),
            "no hyperparamete",
        ),
        (lambda o: build_scheduler("step", o, 9, {"warmup_fraction": 1.0}), r"lie in \[0, 1\)"),
    ],
)
def test_mistakes_are_refused(build: Callable[[Any], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(optimizer(momentum=0.9))
