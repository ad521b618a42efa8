"""`sweeps storage`: a real sweep's study DB upgraded, checked, copied there and back."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.e2e.conftest import SWEEPS, environment
from tests.e2e.runs import SWEEP, write

RUN = ("run", "sweep.yaml", "--tracking", "none", "--json")


def as_optuna_reads(url: str) -> list[dict[str, Any]]:
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name="small", storage=storage)
    trials = [vars(trial) for trial in study.get_trials(deepcopy=False)]
    storage.remove_session()
    storage.engine.dispose()
    return trials


def test_a_copy_there_and_back_is_the_same_study(
    sweeps: Callable[..., Any], tmp_path: Path, postgres_db: str
) -> None:
    write(tmp_path)
    ran = sweeps(*RUN)
    assert ran.code == 0, ran.err
    lite, back = f"sqlite:///{tmp_path}/sweeps.db", f"sqlite:///{tmp_path}/back.db"
    there = sweeps("storage", "copy", "sqlite:///sweeps.db", postgres_db, "--json")
    assert there.code == 0, there.err
    copied = {table["name"]: table for table in json.loads(there.out)["tables"]}
    assert copied["trials"]["target_rows"] == 12
    assert all(table["equal"] for table in copied.values())
    again = sweeps("storage", "copy", postgres_db, "sqlite:///back.db")
    assert again.code == 0, again.err
    assert "Copied and verified" in again.out
    for table in copied.values():
        assert table["source_checksum"] in again.out

    first = as_optuna_reads(lite)
    assert len(first) == 12
    assert first == as_optuna_reads(postgres_db) == as_optuna_reads(back)
    for form in ("json", "csv"):
        texts = {
            sweeps("export", "small", "--format", form, "--storage", url).out
            for url in (lite, postgres_db, back)
        }
        assert len(texts) == 1
        assert len(texts.pop()) > 1000
    for url in (lite, postgres_db, back):
        checked = sweeps("storage", "check", "--storage", url, "--json")
        assert (checked.code, json.loads(checked.out)["sound"]) == (0, True)

    write(tmp_path, SWEEP.replace("run_cap: 12", "run_cap: 14"))
    more = sweeps(*RUN, "--storage", postgres_db)
    assert json.loads(more.out)["ended"] == "all 14 trials have run", more.err


def test_a_full_disk_leaves_no_copy(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, SWEEP.replace("run_cap: 12", "run_cap: 2") + f"description: {'x' * 300_000}\n")
    assert sweeps(*RUN).code == 0
    before = sorted(path.name for path in tmp_path.iterdir())

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    failed = subprocess.run(
        [SWEEPS, "storage", "copy", "sqlite:///sweeps.db", "sqlite:///copy.db"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=small_disk,
        check=False,
    )
    assert failed.returncode == 1, failed.stderr
    assert "Error: copy to 'sqlite:///copy.db'" in failed.stderr
    assert "Nothing was copied. Free some space" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert sweeps("storage", "copy", "sqlite:///sweeps.db", "sqlite:///copy.db").code == 0


def test_check_says_what_to_do(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path, SWEEP.replace("run_cap: 12", "run_cap: 2"))
    assert sweeps(*RUN).code == 0
    sound = sweeps("storage", "check")
    assert (sound.code, sound.err) == (0, "")
    assert "The study DB is sound." in sound.out

    path = tmp_path / "sweeps.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\x05" * 8192 + whole[16384:])
    damaged = sweeps("storage", "check")
    assert damaged.code == 1
    assert "fault: " in damaged.out
    assert ".recover" in damaged.out
    assert "Traceback" not in damaged.err
    told = sweeps("storage", "check", "--json")
    assert (told.code, json.loads(told.out)["sound"]) == (1, False)
    assert sweeps("storage", "check", "--storage", "sqlite:///none.db").code == 2


def test_upgrade_prints_from_and_to(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    assert sweeps("storage", "upgrade").code == 2
    plain = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/sweeps.db")
    optuna.create_study(storage=plain, study_name="theirs")
    plain.remove_session()
    plain.engine.dispose()
    done = sweeps("storage", "upgrade", "--json")
    found = json.loads(done.out)
    assert (done.code, found["changed"]) == (0, True)
    assert found["from"]["sweeplane"] is None
    assert found["from"]["optuna"] == found["to"]["optuna"]
    again = sweeps("storage", "upgrade")
    assert (again.code, "It was up to date." in again.out) == (0, True)
    assert found["to"]["sweeplane"] in again.out


@pytest.mark.parametrize("way", [("storage", "copy", "{url}", "sqlite:///b.db"),
                                 ("storage", "copy", "sqlite:///a.db", "{url}"),
                                 ("storage", "check", "--storage", "{url}"),
                                 ("storage", "upgrade", "--storage", "{url}"),
                                 ("delete", "x", "--yes", "--storage", "{url}"),
                                 ("retry", "x", "1", "--storage", "{url}")])  # fmt: skip
def test_no_password_is_printed(sweeps: Callable[..., Any], way: tuple[str, ...]) -> None:
    url = "postgresql+psycopg://me:s3cr3t@127.0.0.1:1/x"
    done = sweeps(*(part.format(url=url) for part in way))
    assert done.code == 2
    assert "s3cr3t" not in done.out + done.err
