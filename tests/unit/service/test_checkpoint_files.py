"""Checkpoint files: which one counts, and what becomes of those that are damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeps import checkpoints
from sweeps.checkpoints import FORMAT, Owner
from sweeps.config import Config
from sweeps.engines.base import State, Trial
from sweeps.keeping import checkpoint_files, default_folder, remove_study, study_folder

OWNER = Owner("digits", "2026-11-20T12:00:00")
CONFIG = Config("adamw", {"lr": 0.1}, {}, "constant", {}, "none", 10, 16, {"sizes": (1, 2)})
TRIAL = Trial(4, CONFIG, (7, 8))


def state(epoch: int, weight: float = 1.0) -> State:
    replicas = [{"model": {"w": torch.full((100,), weight)}, "optimizer": {0: (1, 2.5)}}] * 2
    return State(epoch, 1.5 * epoch, 2.0 * epoch, None, replicas)


def load(
    folder: Path, reached: int = 9, trial: Trial = TRIAL, owner: Owner = OWNER
) -> State | None:
    return checkpoints.load(folder, owner, trial, reached, pytest.fail)


def refused(folder: Path) -> str:
    said: list[str] = []
    assert checkpoints.load(folder, OWNER, TRIAL, 9, said.append) is None
    (line,) = said
    assert "\n" not in line
    return line


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path / "new" / "folder", OWNER, TRIAL, 1, state(3, 0.5))
    assert path == tmp_path / "new/folder/4-1.safetensors"
    found = load(path.parent)
    assert found is not None
    assert (found.epoch, found.seconds, found.device_seconds) == (3, 4.5, 6.0)
    assert found.replicas[1]["model"]["w"].tolist() == [0.5] * 100
    assert found.replicas[1]["optimizer"] == {0: (1, 2.5)}
    assert list(path.parent.iterdir()) == [path]


def test_the_latest_that_the_curve_has_reached_counts(tmp_path: Path) -> None:
    for token, epoch in ((1, 2), (2, 5), (3, 4)):
        checkpoints.save(tmp_path / str(token), OWNER, TRIAL, token, state(epoch))
        (tmp_path / str(token) / f"4-{token}.safetensors").rename(
            tmp_path / f"4-{token}.safetensors"
        )
    found = [load(tmp_path, reached) for reached in (9, 5, 4, 3, 1)]
    assert [None if each is None else each.epoch for each in found] == [5, 5, 4, 2, None]


def test_a_stale_writer_never_touches_the_newer_file(tmp_path: Path) -> None:
    """The worker of lease 1 wakes up while that of lease 2 is three epochs ahead."""
    checkpoints.save(tmp_path, OWNER, TRIAL, 1, state(2))
    newer = checkpoints.save(tmp_path, OWNER, TRIAL, 2, state(5, 2.0))
    assert list(tmp_path.iterdir()) == [newer]
    before = newer.read_bytes()
    stale = checkpoints.save(tmp_path, OWNER, TRIAL, 1, state(3))
    assert newer.read_bytes() == before
    found = load(tmp_path)
    assert found is not None
    assert (found.epoch, float(found.replicas[0]["model"]["w"][0])) == (5, 2.0)
    checkpoints.save(tmp_path, OWNER, TRIAL, 2, state(6))
    assert not stale.exists()


@pytest.mark.parametrize(
    ("owner", "trial", "differ"),
    [
        (Owner("digits", "2026-11-20T12:00:01"), TRIAL, "created_at"),
        (Owner("wine", OWNER.created_at), TRIAL, "study"),
        (OWNER, replace(TRIAL, config=replace(CONFIG, hypers={"lr": 0.2})), "config"),
        (OWNER, replace(TRIAL, seeds=(7, 9)), "seeds"),
    ],
)
def test_another_trials_file_is_none(
    tmp_path: Path, owner: Owner, trial: Trial, differ: str
) -> None:
    """Such as that of a deleted study, whose id SQLite gives again."""
    checkpoints.save(tmp_path, owner, trial, 1, state(3))
    assert refused(tmp_path).endswith(f"is not used: it is another trial's: {differ} differ")


def test_another_trials_number_is_not_looked_at(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, OWNER, replace(TRIAL, number=44), 1, state(3))
    (tmp_path / "4-x.safetensors").write_text("")
    (tmp_path / "4-1.safetensors.123.tmp").write_text("half")
    assert load(tmp_path) is None
    checkpoints.remove(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "4-x.safetensors",
        "44-1.safetensors",
    ]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def foreign(path: Path) -> None:
    save_file({"w": torch.ones(2)}, path)


def older(path: Path) -> None:
    save_file(load_file(path), path, {"format": "sweeplane checkpoint 0"})


def headless(path: Path) -> None:
    save_file(load_file(path), path, {"format": FORMAT})


def without_a_tensor(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    tensors.popitem()
    save_file(tensors, path, {**header, "crc32": str(checkpoints._checksum(tensors))})


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "incomplete"),
        (cut_in_the_header, "header"),
        (empty, "header"),
        (flip, "its tensors are not those that were written"),
        (foreign, "its format is None"),
        (older, "its format is 'sweeplane checkpoint 0', not 'sweeplane checkpoint 1'"),
        (headless, "KeyError: 'trial'"),
        (without_a_tensor, "KeyError: 'replicas/"),
        (folder_instead, ""),
    ],
)
def test_a_damaged_file_is_none(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    path = checkpoints.save(tmp_path, OWNER, TRIAL, 2, state(3))
    damage(path)
    assert f"checkpoint {path} is not used: " in refused(tmp_path)
    assert says in refused(tmp_path)
    checkpoints.save(tmp_path / "old", OWNER, TRIAL, 1, state(1))
    (tmp_path / "old" / "4-1.safetensors").rename(tmp_path / "4-1.safetensors")
    found = checkpoints.load(tmp_path, OWNER, TRIAL, 9, lambda _: None)
    assert found is not None
    assert found.epoch == 1


FULL = """
import resource, sys
from pathlib import Path
from test_checkpoint_files import OWNER, TRIAL, state
from sweeps import checkpoints
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    checkpoints.save(Path(sys.argv[1]), OWNER, TRIAL, 1, state(7))
except OSError as error:
    print(error)
"""


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, OWNER, TRIAL, 1, state(3))
    where = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {where!r})\n{FULL}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == [path]
    found = load(tmp_path)
    assert found is not None
    assert found.epoch == 3


def test_a_study_has_a_folder_of_its_own(tmp_path: Path) -> None:
    names = [
        study_folder(tmp_path, name, 3).name for name in ("digits", "../a b/ü", "..", "x" * 300)
    ]
    assert names == ["digits-3", "_a_b_-3", "_-3", "x" * 100 + "-3"]
    folder = study_folder(tmp_path, "digits", 3)
    for number in (4, 5):
        checkpoints.save(folder, OWNER, replace(TRIAL, number=number), 1, state(3))
    (folder / "4-1.safetensors.77.tmp").write_text("half")
    assert set(checkpoint_files(folder).values()) == {1}
    assert remove_study(tmp_path, "digits", 4) == 0
    assert remove_study(tmp_path, "digits", 3) == 3
    assert not folder.exists()


def test_the_default_folder_is_beside_a_sqlite_file() -> None:
    from sqlalchemy import make_url

    urls = ("sqlite:///a/my.sweeps.db", "sqlite:////abs/x.db", "postgresql+psycopg://u:p@h/d")
    assert [str(default_folder(make_url(url))) for url in urls] == [
        "a/my.sweeps-checkpoints",
        "/abs/x-checkpoints",
        "sweeps-checkpoints",
    ]


def test_the_header_is_json(tmp_path: Path) -> None:
    from safetensors import safe_open

    path = checkpoints.save(tmp_path, OWNER, TRIAL, 1, state(3))
    with safe_open(path, "pt") as file:
        header = file.metadata()
    about = json.loads(header["trial"])
    assert (about["study"], about["number"], about["seeds"]) == ("digits", 4, [7, 8])
    assert json.loads(header["state"])["dict"][0] == ["epoch", 3]
