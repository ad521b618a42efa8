"""Schedules under an average that sets the learning rate (SWA), or leaves it alone (EMA)."""

from __future__ import annotations

import pytest
import torch
from lr_scheduler_runs import BASES, optimizer, pickled, reloaded, walk
from torch.optim import lr_scheduler, swa_utils

from optimizers import ScheduleLR, WeightAverage
from optimizers.averaging import Swa

TOTAL = 40
MOMENTUM = {"momentum": 0.9}


def average(kind: str = "swa", total: int = TOTAL, **hypers: float) -> WeightAverage:
    return WeightAverage(torch.nn.Linear(1, 1), kind, total, **hypers)


@pytest.mark.parametrize(("anneal", "length"), [(0.2, 8), (0.0, 0)])
def test_swa_takes_over_as_torchs_swalr_does(anneal: float, length: int) -> None:
    own = average(start=0.5, swa_lr=0.3, anneal=anneal)
    found = walk(ScheduleLR(optimizer(), "cosine", TOTAL, average=own), TOTAL)
    base = optimizer()
    scheduler: lr_scheduler.LRScheduler = lr_scheduler.CosineAnnealingLR(base, TOTAL)
    expected = walk(scheduler, TOTAL // 2)
    scheduler = swa_utils.SWALR(base, [0.3 * lr for lr in BASES], length)
    expected += walk(scheduler, TOTAL // 2)
    assert found == pytest.approx(expected, rel=1e-9)


def test_an_ema_leaves_the_schedule_as_it_is() -> None:
    own = ScheduleLR(optimizer(**MOMENTUM), "one_cycle", TOTAL, average=average("ema", start=0.2))
    plain = ScheduleLR(optimizer(**MOMENTUM), "one_cycle", TOTAL)
    assert walk(own, TOTAL) == walk(plain, TOTAL)


def test_momentum_stands_still_too() -> None:
    own = average(start=0.5)
    found = walk(ScheduleLR(optimizer(**MOMENTUM), "one_cycle", TOTAL, average=own), TOTAL)
    momenta = found[1::4]
    plain = walk(ScheduleLR(optimizer(**MOMENTUM), "one_cycle", TOTAL), TOTAL)[1::4]
    assert momenta[:21] == plain[:21]
    assert set(momenta[20:]) == {plain[20]}
    assert len(set(plain[20:])) > 1


def test_feedback_counts_until_the_average_has_taken_over() -> None:
    own = average(start=0.5, swa_lr=0.3, anneal=0.0)
    scheduler = ScheduleLR(optimizer(), "plateau", TOTAL, average=own, factor=0.1, patience=0)
    for metric in (1.0, 2.0):
        scheduler.observe(metric)
    assert scheduler.get_last_lr() == pytest.approx([0.1 * lr for lr in BASES])
    walk(scheduler, TOTAL // 2)
    scheduler.observe(3.0)
    assert scheduler.get_last_lr() == pytest.approx([0.3 * lr for lr in BASES])


def test_it_goes_on_after_a_restart() -> None:
    def fresh() -> ScheduleLR:
        return ScheduleLR(optimizer(), "cosine", TOTAL, average=average(start=0.5))

    straight = walk(fresh(), TOTAL)
    for again in (pickled, lambda saved: reloaded(saved, fresh())):
        saved = fresh()
        first = walk(saved, 25)
        assert "average" not in saved.state_dict()
        assert first + walk(again(saved), TOTAL - 25) == straight


def test_both_must_be_over_the_same_steps() -> None:
    with pytest.raises(ValueError, match="total_steps = 40 is invalid with an average over 39"):
        ScheduleLR(optimizer(), "cosine", TOTAL, average=average(total=39))


def test_swa_alone_moves_the_learning_rate() -> None:
    from optimizers import AVERAGES

    moving = [name for name, each in AVERAGES.items() if each.moves_lr]
    assert moving == [name for name, each in AVERAGES.items() if isinstance(each, Swa)] == ["swa"]
    assert len({each.summary for each in AVERAGES.values()}) == len(AVERAGES)
