"""Scripts written for W&B, with its real library: no key, no network, nothing of them changed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from script_runs import Remembering, program, run

from sweeps.engines.base import Ending

pytest.importorskip("wandb")

PARAMS = {
    "lr": 1e-05,
    "name": "1e-5",
    "answer": "yes",
    "net": {"depth": 2, "act": "re'lu\nx: y"},
    "dims": [1, 2.5, None, True],
}


def run_here(folder: Path, script: str, feed: Remembering) -> None:
    """Run a script by this Python, which has W&B's library."""
    command = (sys.executable, "${program}", "${args_no_equals}")
    run(program(folder, script, command=command, env={}), feed)


def test_config_and_log(tmp_path: Path) -> None:
    script = """
        import json, wandb
        wandb.login()
        with wandb.init(project="anything", entity="anybody", mode="online") as run:
            json.dump(dict(wandb.config), open("config.json", "w"))
            assert run.id == "sweeps7t0" and run.sweep_id == "sweeps7"
            for epoch in range(3):
                wandb.log({"val_loss": wandb.config.lr * epoch, "epoch": epoch, "note": "text",
                           "inner": {"depth": epoch}, "plot": wandb.Histogram([1, 2])})
            run.log({"test": 0.5})
    """
    feed = Remembering([PARAMS])
    run_here(tmp_path, script, feed)
    assert feed.outcomes[0].ending is Ending.TRAINED, feed.outcomes[0].traceback
    assert feed.curve() == [0, 1e-05, 2e-05]
    assert feed.curve(name="step") == [0, 1, 2]
    assert feed.points[2].values.keys() == {"val_loss", "epoch", "inner.depth", "step"}
    assert feed.outcomes[0].test == {"test": 0.5}

    assert json.loads((tmp_path / "config.json").read_text()) == PARAMS
    assert list((tmp_path / "trials/0/wandb").glob("offline-run-*-sweeps7t0"))


def test_rows_of_several_calls(tmp_path: Path) -> None:
    script = """
        import wandb
        run = wandb.init()
        wandb.log({"a": 1}, commit=False)
        wandb.log({"val_loss": 0.5})               # row 0
        run.log({"val_loss": 9}, step=5)
        run.log({"val_loss": 0.4, "a": 2}, step=5)
        run.log({"a": 3}, step=7)                  # commits row 5, its last word
        run.log({"val_loss": 99}, step=6)          # of the past: dropped, as W&B does
        run.log({"val_loss": 0.3}, step=7, commit=True)
        run.log({"val_loss": 0.2})
        run.log({"val_loss": 0.1}, step=20)        # committed by the end
    """
    feed = Remembering([{}])
    run_here(tmp_path, script, feed)
    assert feed.curve() == [0.5, 0.4, 0.3, 0.2, 0.1]
    assert feed.curve(name="step") == [0, 5, 7, 8, 20]
    assert [point.values.get("a") for point in feed.points] == [1, 2, 3, None, None]


def test_a_summary_is_the_last_word(tmp_path: Path) -> None:
    script = """
        import sys, wandb
        with wandb.init() as run:
            if "1" in sys.argv:
                wandb.log({"val_loss": 0.5})
            run.summary["val_loss"] = 0.9
            wandb.summary.update({"val_loss": 0.25, "other": 1})
    """
    feed = Remembering([{"log": 0}, {"log": 1}])
    run_here(tmp_path, script, feed)
    assert [feed.curve(0), feed.curve(1)] == [[0.25], [0.5, 0.25]]


def test_a_pruned_script_is_ended(tmp_path: Path) -> None:
    script = """
        import time, wandb
        wandb.init()
        for epoch in range(100):
            wandb.log({"val_loss": 1})
            time.sleep(0.05)
    """
    feed = Remembering([{}], judge=lambda point: point.epoch == 3)
    run_here(tmp_path, script, feed)
    assert feed.outcomes[0].ending is Ending.STOPPED
    assert len(feed.curve()) == 3


def test_runs_that_are_not_the_sweeps_are_not_heard(tmp_path: Path) -> None:
    script = """
        import multiprocessing, os, wandb

        def fold(n):
            for name in [name for name in os.environ if name.startswith("WANDB_")]:
                del os.environ[name]
            with wandb.init(group="folds") as run:
                run.log({"val_loss": n})
                run.summary["val_loss"] = n

        fork = multiprocessing.get_context("fork").Process(target=fold, args=(7,))
        fork.start()
        fork.join()
        assert fork.exitcode == 0
        with wandb.init() as run:
            run.log({"val_loss": 0.5})
    """
    feed = Remembering([{}])
    run_here(tmp_path, script, feed)
    assert feed.outcomes[0].ending is Ending.TRAINED, feed.outcomes[0].traceback
    assert feed.curve() == [0.5]


def test_a_value_that_is_logged_supersedes_an_earlier_summary(tmp_path: Path) -> None:
    script = """
        import sys, wandb
        with wandb.init() as run:
            run.summary["val_loss"] = 0.9
            wandb.log({"val_loss": 0.5})
            if "1" in sys.argv:
                run.log({"val_loss": 0.4}, step=7)  # waits for the end of the run
                run.summary["val_loss"] = 0.25
    """
    feed = Remembering([{"late": 0}, {"late": 1}])
    run_here(tmp_path, script, feed)
    assert [feed.curve(0), feed.curve(1)] == [[0.5], [0.5, 0.4, 0.25]]


def test_names_that_cannot_be_kept_cost_nothing_else(tmp_path: Path) -> None:
    script = """
        import wandb
        with wandb.init():
            for epoch in range(3):
                wandb.log({"val_loss": epoch, "a\\nb": 1, "x" * 300: 2, "lr": 3})
    """
    feed = Remembering([{}])
    run_here(tmp_path, script, feed)
    assert feed.curve() == [0, 1, 2]
    assert feed.points[0].values.keys() == {"val_loss", "lr", "step"}


def test_a_script_that_only_imports_it_is_read_from_stdout(tmp_path: Path) -> None:
    script = """
        import wandb
        for epoch in range(3):
            print(f"val_loss={epoch}", flush=True)
    """
    feed = Remembering([{}])
    run_here(tmp_path, script, feed)
    assert feed.curve() == [0, 1, 2]
