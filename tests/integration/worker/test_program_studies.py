"""A study of a script: made, run, read by every command, with names that hope to be interpreted."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from studies import SweeplaneError, UserError, get_sweep, open_storage, queries
from sweeps.cli import main
from sweeps.launch import open_sweep
from sweeps.spec import load_spec
from sweeps.stored import stored_spec
from sweeps.worker import Worker

NAME = "ho'st; DROP TABLE studies; --"
SCRIPT = """\
import json, os, sys
from sweeps import report
params = json.loads(sys.argv[1])
for step in range(1, 4):
    report(**{"loss [/] '%": params["../../etc"] / step})
"""
SWEEP = """\
name: "ho'st; DROP TABLE studies; --"
program: it's.py
method: grid
metric: {name: "loss [/] '%"}
command: ["${interpreter}", "${program}", "${args_json}"]
parameters:
  "../../etc": {values: [3, 2]}
  "x'; DROP TABLE trials; --": {value: "[red]$(touch hit)[/] `touch hit`\\n\\e[31m"}
  outer: {parameters: {"a\\nb": {value: 1}}}
baseline: {"../../etc": 9}
device: cpu
"""
Command = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of three trials: the baseline, then the grid."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "it's.py").write_text(SCRIPT)
    (folder / "sweep.yaml").write_text(SWEEP)
    spec = load_spec(folder / "sweep.yaml")
    sweep = open_sweep(spec, f"sqlite:///{folder}/sweeps.db", spec.name, keep=True)
    with sweep.storage, Worker(sweep) as worker:
        assert worker.run() == "the grid's 2 points have run"
    return folder


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Run `sweeps ARGUMENTS...` in the folder; its output has nothing but lines of text."""
    monkeypatch.chdir(folder)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        assert done.exit_code == code, done.output
        assert done.output.replace("\n", "").isprintable()
        return done.output

    yield run
    assert sorted(os.listdir(folder)) == [
        "it's.py",
        "sweep.yaml",
        "sweeps-checkpoints",
        "sweeps.db",
    ]


def test_validate_shows_the_space_as_it_is(command: Command) -> None:
    shown = command("validate", "sweep.yaml", "--plot")
    assert "program it's.py, method grid" in shown
    assert "x'; DROP TABLE trials; --" in shown
    assert r"= [red]$(touch hit)[/] `touch hit`\n\x1b[31m" in shown
    assert r"outer.a\nb" in shown
    assert "1 dimensions, 2 points" in shown


def test_status_and_show_have_the_names_as_they_are(command: Command) -> None:
    board = command("status", NAME)
    assert [line.split()[:3] for line in board.splitlines()[-4:-1]] == [
        ["2", "complete", "0.6667"],
        ["1", "complete", "1"],
        ["0*", "complete", "3"],
    ]
    shown = command("show", NAME, "0")
    assert "baseline; 3 reports in" in shown
    assert r"outer.a\nb" in shown
    assert "loss [/] '%" in shown


def test_export_has_the_values_as_they_are(command: Command) -> None:
    trials = json.loads(command("export", NAME))["trials"]
    value = "[red]$(touch hit)[/] `touch hit`\n\x1b[31m"
    assert [trial["params"] for trial in trials] == [
        {"../../etc": n, "outer.a\nb": 1, "x'; DROP TABLE trials; --": value} for n in (9, 3, 2)
    ]
    assert trials[1]["curves"] == {"loss [/] '%": [[1, 3.0], [2, 1.5], [3, 1.0]]}
    assert trials[0]["sampled"] == {}
    assert trials[2]["sampled"] == {"../../etc": 2}


def test_best_is_a_command_that_runs_the_script_again(command: Command, folder: Path) -> None:
    found = json.loads(command("best", NAME, "--json"))
    assert found["best"]["number"] == 2
    assert command("best", NAME).count(found["command"].splitlines()[-1]) == 1
    (folder / "it's.py").write_text("import sys; print(sys.argv[1])")
    line = found["command"]
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    value = "[red]$(touch hit)[/] `touch hit`\n\x1b[31m"
    params = {"../../etc": 2, "outer": {"a\nb": 1}, "x'; DROP TABLE trials; --": value}
    assert json.loads(done.stdout) == params
    (folder / "it's.py").write_text(SCRIPT)


def test_a_worker_reads_the_file_back_from_the_study(folder: Path) -> None:
    with open_storage(f"sqlite:///{folder}/sweeps.db") as storage:
        sweep = get_sweep(storage, NAME)
        assert sweep is not None
        spec = stored_spec(sweep)
    assert spec.program == load_spec(folder / "sweep.yaml").program
    assert spec.path == folder / "sweep.yaml"


def test_enqueue_takes_the_script_s_parameters(command: Command) -> None:
    wrong = command("enqueue", NAME, "../../etd=5", code=2)
    assert "the script has no parameter '../../etd'; did you mean '../../etc'?" in wrong
    assert "gives no value to '../../etc'" in wrong
    assert "Trial 3 waits: ../../etc=5, outer.a b=1" in command("enqueue", NAME, "../../etc=5")


def test_plan_says_why_it_has_no_answer(command: Command) -> None:
    assert "nothing but the script knows how long" in command("plan", "sweep.yaml", code=2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("program: tain.py", "program 'tain.py' is not there: no file"),
        ("program: it's.py\nworking_directory: nowhere", "working_directory 'nowhere' is not"),
        ("program: it's.py\nworking_directory: sub", "program 'it's.py' is not there: no file"),
        ("command: [no-such-program, x]", "the command starts with 'no-such-program', which is"),
        ("command: [./none.sh]", "the command starts with './none.sh', which is"),
    ],
)
def test_what_is_not_there_is_refused_before_a_study_is_made(
    tmp_path: Path, more: str, said: str
) -> None:
    (tmp_path / "it's.py").write_text(SCRIPT)
    (tmp_path / "sub").mkdir()
    keys = "metric: {name: loss}\nparameters: {a: {values: [1, 2]}}\ndevice: cpu\n"
    (tmp_path / "sweep.yaml").write_text(keys + more + "\n")
    with pytest.raises(UserError) as caught:
        open_sweep(load_spec(tmp_path / "sweep.yaml"), f"sqlite:///{tmp_path}/x.db", "x")
    assert said in str(caught.value)
    assert not (tmp_path / "x.db").exists()


def test_a_script_that_lies_above_its_sweep_file_is_found_for_the_user(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    (tmp_path / "sweeps" / "deep").mkdir(parents=True)
    path = tmp_path / "sweeps" / "deep" / "sweep.yaml"
    path.write_text("program: train.py\nmetric: {name: a}\nparameters: {a: {values: [1, 2]}}\n")
    with pytest.raises(UserError, match=r"add 'working_directory: \.\./\.\.' to the sweep file"):
        open_sweep(load_spec(path), f"sqlite:///{tmp_path}/x.db", "x")


def test_what_a_script_says_of_itself_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import sys\nprint('\\x1b[31m [/red] |x|', file=sys.stderr)\nsys.exit(3)\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "program: train.py\nmethod: grid\nmetric: {name: a}\nparameters: {a: {values: [1, 2]}}\n"
        "device: cpu\nbudget: {failures: 1}\n"
    )
    spec = load_spec(tmp_path / "sweep.yaml")
    url = f"sqlite:///{tmp_path}/sweeps.db"
    sweep = open_sweep(spec, url, spec.name)
    with sweep.storage, Worker(sweep) as worker, pytest.raises(SweeplaneError):
        worker.run()
    shown: Any = CliRunner().invoke(main, ["show", spec.name, "0", "--storage", url])
    assert r"\x1b[31m [/red] |x|" in shown.output
    assert shown.output.replace("\n", "").isprintable()


def test_a_sweep_without_a_metric_has_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import sys\nprint('loss=0.25')\nsys.exit(sys.argv[1] == '--a=2')\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "program: train.py\nmethod: grid\nparameters: {a: {values: [1, 2, 3]}}\ndevice: cpu\n"
        "budget: {failures: 9}\n"
    )
    spec = load_spec(tmp_path / "sweep.yaml")
    sweep = open_sweep(spec, f"sqlite:///{tmp_path}/sweeps.db", spec.name)
    with sweep.storage, Worker(sweep) as worker:
        worker.run()
        ended = [(row.outcome, row.value) for row in queries.leaderboard(sweep.storage, spec.name)]
    assert ended == [("complete", 0.0)] * 2 + [("failed", None)] * 3  # a grid tries again
