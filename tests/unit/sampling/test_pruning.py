"""`early_terminate`: which epoch is the first, and who stops where."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.pruners import NopPruner, PatientPruner

from studies.rungs import AshaPruner, BracketPruner, QuantilePruner
from sweeps.pruning import bands, first_epoch, make_pruner
from sweeps.spec.models import EarlyTerminate


@pytest.mark.parametrize(
    ("epochs", "warmup", "expected"),
    [(30, 0.0, 3), (30, 0.1, 3), (30, 0.25, 8), (5, 0.0, 1), (95, 0.0, 10), (100, 0.5, 50)],
)
def test_auto_is_a_tenth_of_the_epochs_and_never_before_warmup_ends(
    epochs: int, warmup: float, expected: int
) -> None:
    assert first_epoch(EarlyTerminate(), epochs, warmup) == expected


def test_a_given_first_epoch_is_taken_as_it_is() -> None:
    assert first_epoch(EarlyTerminate(min_epochs=2), 30, 0.5) == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("asha", AshaPruner),
        ("hyperband", BracketPruner),
        ("median", QuantilePruner),
        ("percentile", QuantilePruner),
        ("patience", PatientPruner),
        ("none", NopPruner),
    ],
)
def test_each_type_is_its_pruner(kind: str, expected: type) -> None:
    assert type(make_pruner(EarlyTerminate(type=kind), 30, 3)) is expected


def told(kind: str, curves: list[list[float]], *, min_epochs: int = 1, **rule: object) -> list[int]:
    """Run curves one after the other; return how many epochs each was given."""
    pruner = make_pruner(EarlyTerminate(type=kind, **rule), len(curves[0]), min_epochs)  # type: ignore[arg-type]
    study = optuna.create_study(pruner=pruner)
    lengths = []
    for curve in curves:
        trial = study.ask()
        for epoch, value in enumerate(curve, start=1):
            trial.report(value, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, curve[-1])
        lengths.append(epoch)
    return lengths


def test_asha_stops_at_the_rungs() -> None:
    """Rungs 3 and 9 of 12 epochs; the second best at a rung is not in its best third."""
    good, fair, poor = [1.0] * 12, [2.0] * 12, [3.0] * 12
    assert told("asha", [fair, poor, good, fair], min_epochs=3, eta=3) == [12, 3, 12, 3]


def test_median_waits_for_its_startup_trials() -> None:
    curves = [[1.0] * 6, [2.0] * 6, [3.0] * 6, [2.5] * 6]
    assert told("median", curves, min_epochs=2, startup_trials=3) == [6, 6, 6, 2]


def test_patience_counts_epochs_without_a_better_value() -> None:
    assert told("patience", [[3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 0.4]], patience=3) == [6]


def test_wandb_bands() -> None:
    assert bands(EarlyTerminate(type="hyperband", min_iter=3), 100) == (3, 9, 27, 81)
    assert bands(EarlyTerminate(type="hyperband", max_iter=27, s=2), 100) == (3, 9)


def test_wandb_bands_of_a_script_that_ends_when_it_likes() -> None:
    found = bands(EarlyTerminate(type="hyperband", min_iter=2, eta=2), math.inf)
    assert found[:3] == (2, 4, 8)
    assert found[-1] == 2**52
    assert bands(EarlyTerminate(type="hyperband", max_iter=5, eta=2, s=9), math.inf) == (1, 2)


def test_wandb_hyperband_lets_the_best_third_past_a_band() -> None:
    """Band 2 is reached with the second value.

    Alone, the threshold is the trial's own value. Of 1 and 2 it is 1, so 2 stops; of 1, 2, 3 it is
    2, so 3 stops; of 0.5, 1, 2, 3 it is 1, so 0.5 goes on.
    """
    curves = [[1.0] * 5, [2.0] * 5, [3.0] * 5, [0.5] * 5]
    assert told("hyperband", curves, min_iter=2) == [5, 2, 2, 5]


def test_wandb_hyperband_judges_the_best_value_so_far_unless_it_is_strict() -> None:
    """The second curve was better than the band's threshold before the band, and is not at it."""
    curves = [[3.0, 2.0, 2.0, 1.0], [1.0, 4.0, 4.0, 4.0]]
    assert told("hyperband", curves, min_iter=2, eta=3) == [4, 4]
    assert told("hyperband", curves, min_iter=2, eta=3, strict=True) == [4, 2]
