"""A worker is killed in the middle of a trial, and another goes on from its checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from studies import UserError, open_storage, queries, schema
from tests.e2e.runs import SLOW_TASK, SWEEP, comparable, exported
from tests.waiting import wait_for

EPOCHS, STEPS = 40, 10
# Each update leaves a line with the process: what was trained, whatever the study DB says.
TASK = SLOW_TASK.replace(
    "def make():",
    """def loss(output, target):
    if torch.is_grad_enabled():
        with open("trained.log", "a") as log:
            log.write(f"{os.getpid()}\\n")
    return F.cross_entropy(output, target)


def make():""",
)
TASK = "import os\n" + TASK.replace("loss=F.cross_entropy", "loss=loss")
# So slow that none has ended when the other worker, whose start takes its time, is under way.
TASK = TASK.replace("time.sleep(0.002)", "time.sleep(0.01)")
TEXT = SWEEP.replace("task: iris-mlp", "task: counted.py:make").replace("epochs: 6", "epochs: 40")
TEXT = TEXT.replace("run_cap: 12", "run_cap: 2") + "batch_size: 15\nearly_terminate: none\n"


def write(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(TEXT)
    (folder / "counted.py").write_text(TASK)


def trained(folder: Path, pid: int | None = None) -> int:
    log = folder / "trained.log"
    lines = log.read_text().split() if log.exists() else []
    return sum(pid is None or int(line) == pid for line in lines)


def epochs_of(folder: Path, number: int) -> int:
    if not (folder / "sweeps.db").exists():
        return 0
    try:
        with open_storage(f"sqlite:///{folder / 'sweeps.db'}", create=False) as storage:
            found = {row.number: row for row in queries.leaderboard(storage, "small")}
    except UserError:  # not there yet
        return 0
    return (found[number].epochs or 0) if number in found else 0


def attempts(folder: Path) -> list[int]:
    with (
        open_storage(f"sqlite:///{folder / 'sweeps.db'}") as storage,
        storage.engine.connect() as c,
    ):
        leases = schema.leases
        return list(c.scalars(select(leases.c.attempt).order_by(leases.c.trial_id)))


def test_a_killed_workers_trial_goes_on_from_its_checkpoint(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path)
    command = ("run", "sweep.yaml", "--tracking", "none", "--checkpoint-every", "1")
    worker = start(*command)
    wait_for(lambda: epochs_of(tmp_path, 0) >= 5 or worker.poll() is not None)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    reached, before = epochs_of(tmp_path, 0), trained(tmp_path)
    assert 5 <= reached < EPOCHS
    folder = next((tmp_path / "sweeps-checkpoints").iterdir())
    assert folder.name == "small-1"
    assert [path.name for path in folder.glob("*.safetensors")] == ["0-1.safetensors"]
    done = sweeps(*command)
    assert done.code == 0, done.err
    assert attempts(tmp_path) == [2, 1]
    # the checkpoint is of the last epoch, or (killed between the two writes) of the one before
    again = trained(tmp_path) - before
    assert (2 * EPOCHS - reached) * STEPS <= again <= (2 * EPOCHS - reached + 1) * STEPS
    assert not list(folder.iterdir())
    assert sweeps("run", "sweep.yaml", "--tracking", "none", "--name", "calm").code == 0
    calm = [comparable(trial) for trial in exported(sweeps, "calm")]
    assert [comparable(trial) for trial in exported(sweeps)] == calm


def test_ctrl_c_keeps_the_epochs_and_delete_takes_the_folder(
    sweeps: Callable[..., Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write(tmp_path)
    command = ("run", "sweep.yaml", "--tracking", "none", "--workers", "2")
    kept = ("--checkpoints", "elsewhere")
    run = start(*command, *kept)
    wait_for(lambda: min(epochs_of(tmp_path, n) for n in (0, 1)) >= 3 or run.poll() is not None)
    os.kill(run.pid, signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 130, out
    reached = [epochs_of(tmp_path, number) for number in (0, 1)]
    files = sorted(path.name for path in (tmp_path / "elsewhere" / "small-1").iterdir())
    assert files == ["0-1.safetensors", "1-1.safetensors"]
    assert trained(tmp_path) == sum(reached) * STEPS
    status = sweeps("show", "small", "0").out
    assert "small, trial 0: waiting" in status
    assert f"{reached[0]} epochs" in status

    done = sweeps("worker", "--study", "small", *kept)
    assert done.code == 0, done.err
    assert trained(tmp_path) == 2 * EPOCHS * STEPS
    assert sweeps("run", "sweep.yaml", "--tracking", "none", "--name", "calm").code == 0
    calm = [comparable(trial) for trial in exported(sweeps, "calm")]
    assert [comparable(trial) for trial in exported(sweeps)] == calm
    shown = sweeps("show", "small", "0").out
    assert " of the device" in shown

    (tmp_path / "elsewhere" / "small-1" / "0-9.safetensors").write_text("left")
    assert sweeps("delete", "small", "--yes", *kept).code == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_the_options_cannot_mean_is_refused(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    write(tmp_path)
    (tmp_path / "file").write_text("")
    for wrong in ("0", "-1", "soon", "1.5", "0s"):
        done = sweeps("run", "sweep.yaml", "--checkpoint-every", wrong)
        assert done.code == 2
        expected = f"'{wrong}' is none of: a time with its unit (30s, 5m), a whole number of epochs"
        assert expected in " ".join(done.err.split())
    done = sweeps("worker", "--study", "small", "--checkpoints", "file")
    assert done.code == 2
    assert "'file' is a file" in done.err
    assert not (tmp_path / "sweeps.db").exists()


def test_workers_of_a_crew_say_that_there_is_no_place_for_checkpoints(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    write(tmp_path)
    (tmp_path / "sweep.yaml").write_text(TEXT.replace("epochs: 40", "epochs: 3"))
    (tmp_path / "sweeps-checkpoints").write_text("")  # a file where the folder would be
    command = ("run", "sweep.yaml", "--tracking", "none", "--checkpoint-every", "1")
    done = sweeps(*command, "--workers", "2")
    assert done.code == 0, done.err
    assert "Ended: all 2 trials have run." in done.out
    assert done.err.count("Warning: checkpoints cannot be written to ") == 1
