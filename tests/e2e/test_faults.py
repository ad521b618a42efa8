"""Each fault in small; `python -m benchmarks.reliability` repeats them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faults import crowds, disks, kills, pauses, tools
from tests.e2e.faults.scene import Scene


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, database_url) as scene:
        yield scene


@pytest.fixture
def file_scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, f"sqlite:///{tmp_path / 'sweeps.db'}") as scene:
        yield scene


class Dice(random.Random):
    """Numbers whose seed a failure tells."""

    def __init__(self) -> None:
        self.given = random.SystemRandom().getrandbits(32)
        super().__init__(self.given)

    def __repr__(self) -> str:
        return f"random.Random({self.given})"


@pytest.fixture
def dice() -> Dice:
    return Dice()


def test_a_killed_worker_among_others(scene: Scene, dice: Dice) -> None:
    figures = kills.among_others(scene, dice, 1, holding=True)
    assert figures.sound, (figures, dice)
    assert figures.takeover_seconds is not None, (figures, dice)
    assert figures.takeover_seconds <= 2 + 5, (figures, dice)
    assert (figures.wanted, figures.trials) == (20, 20)


def test_a_killed_worker_elsewhere(file_scene: Scene, dice: Dice) -> None:
    figures = kills.elsewhere(file_scene, dice, 1)
    assert figures.sound, (figures, dice)


def test_killed_before_its_first_heartbeat(file_scene: Scene, dice: Dice) -> None:
    figures = kills.before_its_first_heartbeat(file_scene, dice, 1)
    assert figures.sound, (figures, dice)
    assert figures.seen["in time"] == 1


def test_paused_beyond_the_lease(scene: Scene, dice: Dice) -> None:
    figures = pauses.beyond_the_lease(scene, dice, 1)
    assert figures.sound, (figures, dice)
    assert figures.seen["holding a trial"] == 1


def test_on_one_budget(file_scene: Scene, dice: Dice) -> None:
    figures = crowds.on_one_budget(file_scene, dice, 1, workers=2, budget=12)
    assert figures.sound, (figures, dice)
    assert figures.got == figures.trials == 12


def test_beside_plain_optuna(file_scene: Scene, dice: Dice) -> None:
    figures = crowds.beside_plain_optuna(file_scene, dice, processes=3, plain=1, trials=20)
    assert figures.sound, (figures, dice)
    assert figures.got == figures.trials == 60


def test_on_one_lease(scene: Scene, dice: Dice) -> None:
    figures = crowds.on_one_lease(scene, dice, 25)
    assert figures.sound, (figures, dice)


@pytest.mark.parametrize(("fault", "workers"), [(disks.full, 2), (disks.read_only, 1)])
def test_a_disk_below_a_sweep(fault: disks.Fault, workers: int, dice: Dice, tmp_path: Path) -> None:
    if not disks.mounts():
        pytest.skip("only root may mount a disk image")
    with disks.sweep_on_a_disk(tmp_path) as (scene, disk):
        figures = fault(scene, disk, dice, workers)
    assert figures.sound, (figures, dice)


def test_optunas_tools_read_what_four_workers_wrote(file_scene: Scene) -> None:
    figures = tools.after_four_workers(file_scene, 12)
    assert figures.sound, figures
