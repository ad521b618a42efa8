"""SequentialLR and ChainedScheduler against torch's, and the pure schedules they correspond to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lr_scheduler_runs import STEPS, Build, optimizer, ours, pickled, reloaded, theirs, walk
from torch.optim import Optimizer

from optimizers import SCHEDULES, ScheduleLR
from optimizers.schedules import Chained, Lambda, Sequential

MOMENTUM = {"momentum": 0.9}


def warm_then_cosine(library: Any, base: Optimizer) -> Any:
    parts = [library.LinearLR(base, 0.1, total_iters=50), library.CosineAnnealingLR(base, 950)]
    return library.SequentialLR(base, parts, milestones=[50])


def four_parts(library: Any, base: Optimizer) -> Any:
    parts = [
        library.ConstantLR(base, 0.5, total_iters=20),
        library.StepLR(base, 30, 0.5),
        library.CosineAnnealingWarmRestarts(base, 20, 2, 0.001),
        library.PolynomialLR(base, 400, 2.0),
    ]
    return library.SequentialLR(base, parts, milestones=[100, 301, 600])


def no_first_part(library: Any, base: Optimizer) -> Any:
    parts = [library.LinearLR(base, 0.1, total_iters=5), library.ExponentialLR(base, 0.999)]
    return library.SequentialLR(base, parts, milestones=[0])


def then_one_cycle(library: Any, base: Optimizer) -> Any:
    parts = [
        library.LambdaLR(base, lambda epoch: 1 / (1 + epoch)),
        library.OneCycleLR(base, 0.3, total_steps=900),
    ]
    return library.SequentialLR(base, parts, milestones=[200])


def constant_and_exponential(library: Any, base: Optimizer) -> Any:
    return library.ChainedScheduler([library.ConstantLR(base), library.ExponentialLR(base, 0.99)])


def many(library: Any, base: Optimizer) -> Any:
    parts = [
        library.LinearLR(base, 0.1, total_iters=30),
        library.MultiStepLR(base, [100, 500], 0.3),
        library.PolynomialLR(base, 2000, 0.7),
        library.MultiplicativeLR(base, lambda epoch: 0.999 + epoch * 1e-7),
        library.CosineAnnealingLR(base, 2000),
    ]
    return library.ChainedScheduler(parts, optimizer=base)


def chain_in_chain(library: Any, base: Optimizer) -> Any:
    inner = library.ChainedScheduler([library.StepLR(base, 90), library.LinearLR(base)])
    return library.ChainedScheduler([library.ExponentialLR(base, 0.999), inner])


def with_a_late_chain(library: Any, base: Optimizer) -> Any:
    """torch's cannot begin it."""
    late = library.ChainedScheduler([library.StepLR(base, 90), library.ExponentialLR(base, 0.999)])
    return library.SequentialLR(base, [library.LinearLR(base), late], milestones=[600])


EQUAL = [
    warm_then_cosine,
    four_parts,
    no_first_part,
    then_one_cycle,
    constant_and_exponential,
    many,
]


@pytest.mark.parametrize("build", EQUAL)
def test_equals_torch(build: Build) -> None:
    found = walk(build(ours, optimizer(**MOMENTUM)), STEPS)
    expected = walk(build(theirs, optimizer(**MOMENTUM)), STEPS)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-13)


RESTARTED = [warm_then_cosine, four_parts, constant_and_exponential, with_a_late_chain]


@pytest.mark.parametrize("build", RESTARTED)
def test_goes_on_after_a_restart(build: Build) -> None:
    straight = walk(build(ours, optimizer(**MOMENTUM)), STEPS)
    for saved_by in (ours,) if build is with_a_late_chain else (ours, theirs):
        first = build(saved_by, optimizer(**MOMENTUM))
        head = walk(first, 500)
        second = reloaded(first, build(ours, optimizer(**MOMENTUM)))
        assert head + walk(second, 500) == pytest.approx(straight, rel=1e-9, abs=1e-13)
    first = build(ours, optimizer(**MOMENTUM))
    assert walk(first, 500) + walk(pickled(first), 500) == straight


def test_torchs_children_are_taken_too() -> None:
    """All of a chain's; in a sequence each as it is."""

    def mixed(base: Optimizer) -> Any:
        parts = [theirs.LinearLR(base, 0.1, total_iters=10), ours.StepLR(base, 5)]
        return ours.SequentialLR(base, [*parts, theirs.ExponentialLR(base, 0.9)], [10, 20])

    def same(base: Optimizer) -> Any:
        parts = [theirs.LinearLR(base, 0.1, total_iters=10), theirs.StepLR(base, 5)]
        return theirs.SequentialLR(base, [*parts, theirs.ExponentialLR(base, 0.9)], [10, 20])

    assert walk(mixed(optimizer(**MOMENTUM)), 60) == pytest.approx(
        walk(same(optimizer(**MOMENTUM)), 60), rel=1e-12
    )

    def chain(library: Any) -> list[float]:
        base = optimizer(**MOMENTUM)
        parts = [theirs.LinearLR(base), theirs.CosineAnnealingLR(base, 30, 0.01)]
        return walk(library.ChainedScheduler(parts), 60)

    assert chain(ours) == chain(theirs)


def test_ours_take_their_place_in_torchs_sequence() -> None:
    def sequence(library: Any) -> Any:
        base = optimizer(**MOMENTUM)
        parts = [theirs.LinearLR(base, 0.1, total_iters=10), library.StepLR(base, 5)]
        return theirs.SequentialLR(base, parts, milestones=[10])

    assert walk(sequence(ours), 40) == pytest.approx(walk(sequence(theirs), 40), rel=1e-12)


def test_a_chain_of_both_libraries_is_refused() -> None:
    base = optimizer()
    with pytest.raises(ValueError, match="in one chain they must all be of optimizers"):
        ours.ChainedScheduler([ours.StepLR(base, 3), theirs.LinearLR(base)])


def rates(scheduler: Any, steps: int) -> list[float]:
    return walk(scheduler, steps)[::4]


def test_combinations_nest() -> None:
    base = optimizer(**MOMENTUM)
    late = ours.ChainedScheduler([ours.LinearLR(base, 0.5, total_iters=2), ours.StepLR(base, 3)])
    inner = ours.SequentialLR(base, [ours.ConstantLR(base, 0.5, 2), ours.StepLR(base, 2)], [3])
    whole = ours.SequentialLR(base, [ours.StepLR(base, 2), late, inner], milestones=[4, 8])
    expected = [0.1, 0.1, 0.01, 0.01, 0.05, 0.075, 0.1, 0.01, 0.05, 0.05, 0.1, 0.1, 0.1, 0.01]
    assert rates(whole, 14) == pytest.approx(expected)
    first = walk(chain_in_chain(ours, optimizer(**MOMENTUM)), 100)
    base = optimizer(**MOMENTUM)
    flat = [ours.ExponentialLR(base, 0.999), ours.StepLR(base, 90), ours.LinearLR(base)]
    assert first == pytest.approx(walk(ours.ChainedScheduler(flat), 100), rel=1e-12)


def test_what_a_chain_does_where_torchs_is_no_product() -> None:
    """Each lr as a part of initial_lr, multiplied; the last with eta_min as if it were alone."""
    base = optimizer(**MOMENTUM)
    parts = [ours.StepLR(base, 10, 0.5), ours.CosineAnnealingLR(base, 40, eta_min=0.01)]
    found = rates(ours.ChainedScheduler(parts), 60)
    alone = rates(ours.CosineAnnealingLR(optimizer(**MOMENTUM), 40, eta_min=0.01), 60)
    assert found == pytest.approx([lr * 0.5 ** (t // 10) for t, lr in enumerate(alone)])
    base = optimizer(**MOMENTUM)
    functions = [ours.StepLR(base, 10, 0.5), ours.LambdaLR(base, lambda epoch: 1 / (1 + epoch))]
    found = rates(ours.ChainedScheduler(functions), 30)
    assert found == pytest.approx([0.1 * 0.5 ** (t // 10) / (1 + t) for t in range(30)])


def test_a_multiplicative_part_begins_with_the_base() -> None:
    base = optimizer(**MOMENTUM)
    parts = [ours.ConstantLR(base, 0.1, 9), ours.MultiplicativeLR(base, lambda _: 0.5)]
    found = rates(ours.SequentialLR(base, parts, [3]), 6)
    assert found == pytest.approx([0.01, 0.01, 0.01, 0.1, 0.05, 0.025])


def test_a_group_with_no_learning_rate_stays_so() -> None:
    base = torch.optim.SGD([torch.zeros(1)], lr=0.0)
    chain = ours.ChainedScheduler([ours.StepLR(base, 2), ours.LinearLR(base)])
    base.step()
    chain.step()
    assert chain.get_last_lr() == [0.0]


def test_the_pure_sequence_gives_each_part_its_stretch() -> None:
    linear, step = SCHEDULES["linear"], SCHEDULES["step"]
    rise = (linear, {"start_factor": 0.1, "final_factor": 1.0})
    schedule = Sequential(parts=(rise, (step, {"step_fraction": 0.5})), milestones=(0.2,))
    base = optimizer(**MOMENTUM)
    parts = [ours.LinearLR(base, 0.1, total_iters=20), ours.StepLR(base, 40)]
    expected = walk(ours.SequentialLR(base, parts, [20]), 100)
    found = walk(ScheduleLR(optimizer(**MOMENTUM), schedule, 100), 100)
    assert found == pytest.approx(expected, rel=1e-12)
    assert not Sequential(parts=((Lambda(function=abs), {}),), milestones=()).foreseeable


def test_the_pure_chain_is_a_product() -> None:
    parts = ((SCHEDULES["cosine"], {"warmup_fraction": 0.1}), (SCHEDULES["step"], {}))
    found = walk(ScheduleLR(optimizer(**MOMENTUM), Chained(parts=parts), 90), 90)[::4]
    alone = [
        walk(ScheduleLR(optimizer(**MOMENTUM), part.name, 90, **values), 90)[::4]
        for part, values in parts
    ]
    assert found == pytest.approx([a * b / 0.1 for a, b in zip(*alone, strict=True)], rel=1e-12)


def test_parts_that_do_not_fit_are_refused() -> None:
    step, plateau = (SCHEDULES["step"], {}), (SCHEDULES["plateau"], {})
    with pytest.raises(ValueError, match="plateau is no part of chained: it needs a metric"):
        Chained(parts=(step, plateau))
    with pytest.raises(ValueError, match=r"parts = \(\) is invalid"):
        Chained(parts=())
    with pytest.raises(ValueError, match="gamma = -1 is invalid"):
        Chained(parts=((SCHEDULES["step"], {"gamma": -1}),))
    for milestones in ((), (0.7, 0.2), (0.5, 1.5), (float("nan"), 0.5)):
        with pytest.raises(ValueError, match=r"milestones = .* must be 2 rising fractions"):
            Sequential(parts=(step, step, step), milestones=milestones)
