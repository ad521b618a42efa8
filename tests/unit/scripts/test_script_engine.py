"""The engine of scripts, with real processes: what they say, and how their trials end."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from script_runs import Remembering, program, run

from sweeps.engines.base import Ending, Point
from sweeps.engines.script import run as script_run

REPORTING = """
    import argparse
    from sweeps import report

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    lr = parser.parse_args().lr
    for epoch in range(1, 4):
        print("val_loss=7 is not believed beside reports", flush=True)
        report(train_loss=epoch)
        if report(step=10 * epoch, val_loss=lr * epoch):
            print("told to stop")
            break
    report(test_accuracy=0.75)
"""


def test_a_script_reports_and_is_trained(tmp_path: Path) -> None:
    feed = Remembering([{"lr": 0.5}])
    run(program(tmp_path, REPORTING), feed)
    assert feed.curve() == [0.5, 1.0, 1.5]
    assert feed.curve(name="step") == [10, 20, 30]
    assert feed.curve(name="train_loss") == [1, 2, 3]
    outcome = feed.outcomes[0]
    assert (outcome.ending, outcome.epochs) == (Ending.TRAINED, 3)
    assert outcome.test == {"test_accuracy": 0.75}
    assert outcome.folder == str(tmp_path / "trials" / "0")
    assert 0 < outcome.device_seconds <= outcome.seconds < 10


def test_a_script_hears_of_its_end_on_the_very_report(tmp_path: Path) -> None:
    feed = Remembering([{"lr": 0.5}], judge=lambda point: point.epoch == 2)
    run(program(tmp_path, REPORTING), feed)
    assert feed.curve() == [0.5, 1.0]
    assert feed.outcomes[0].ending is Ending.STOPPED
    assert (tmp_path / "trials/0/stdout.log").read_text().endswith("told to stop\n")


def test_scripts_share_a_device_with_a_folder_each(tmp_path: Path) -> None:
    feed = Remembering([{"lr": float(n)} for n in range(5)])
    run(program(tmp_path, REPORTING, trials_per_device=2), feed)
    assert feed.at_once == 2
    assert {n: outcome.ending for n, outcome in feed.outcomes.items()} == dict.fromkeys(
        range(5), Ending.TRAINED
    )
    assert [feed.curve(n)[-1] for n in range(5)] == [0.0, 3.0, 6.0, 9.0, 12.0]
    # Of two at once, each has about half of the device.
    assert sum(each.device_seconds for each in feed.outcomes.values()) < 0.8 * sum(
        each.seconds for each in feed.outcomes.values()
    )


def test_lines_on_stdout_are_reports(tmp_path: Path) -> None:
    script = """
        print("epoch 1: loss=0.9, valid/acc@5 = 50.5 lr=1e-3")
        print("valid/acc@5=1,234.5 valid/acc@5=12% valid/acc@5=1,5")
        print("a bar valid/acc@5=1\\ra bar valid/acc@5=.75", flush=True)
        print("x.valid/acc@5=3 valid/acc@5=4x valid/acc@5=v1.2")
        print("valid/acc@5=-1e2", end="")
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed, metric="valid/acc@5")
    assert feed.curve(name="valid/acc@5") == [50.5, 0.75, -100.0]
    assert feed.points[0].values == {"valid/acc@5": 50.5, "loss": 0.9, "lr": 0.001}


def test_the_metric_may_stand_before_a_colon(tmp_path: Path) -> None:
    script = """
        print("Train Epoch: 1 [0/60000 (0%)] Loss: 2.3")
        print("Test set: Average loss: 0.0421, Accuracy: 9850/10000 (99%)")
        print("Test set: average loss: 1, Average loss: n/a, not Average loss:nan", flush=True)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed, metric="Average loss")
    assert [point.values for point in feed.points[:1]] == [{"Average loss": 0.0421}]
    assert len(feed.points) == 2
    assert feed.outcomes[0].ending is Ending.DIVERGED


def test_a_metrics_file_is_read_while_it_grows(tmp_path: Path) -> None:
    script = """
        import json, os, time
        path = f"metrics-{os.environ['SWEEPS_TRIAL']}.jsonl"
        assert not os.path.exists(path)
        with open(path, "w") as file:
            print("# a heading", file=file)
            for epoch in range(3):
                print("val_loss=8")
                said = json.dumps({"step": epoch, "val_loss": epoch / 2, "note": "x"})
                file.write(said[:9]); file.flush(); time.sleep(0.15)
                file.write(said[9:] + "\\n"); file.flush()
            file.write('{"val_loss": 4')
            file.flush()
            file.write('}')
    """
    (tmp_path / "metrics-0.jsonl").write_text('{"val_loss": 99}\n')
    feed = Remembering([{}, {}])
    run(program(tmp_path, script, metrics_file="metrics-{trial}.jsonl", trials_per_device=2), feed)
    assert feed.curve(0) == feed.curve(1) == [0.0, 0.5, 1.0, 4.0]
    assert feed.points[0].values == {"step": 0.0, "val_loss": 0.0}


@pytest.mark.parametrize(
    ("script", "error", "lines"),
    [
        (
            "import sys; print('val_loss=1'); sys.exit('no url postgresql://me:secret@db/x')",
            "the script ended with exit code 1: no url postgresql://me:***@db/x",
            "no url postgresql://me:***@db/x",
        ),
        (
            "import os, signal; print('last words', flush=True); os.kill(os.getpid(), 9)",
            "the script was killed by SIGKILL: last words",
            "last words",
        ),
        (
            "print('val_los=1')",
            "the script ended without one value of val_loss. Report it by sweeps.report, "
            "wandb.log, metrics_file, or a line val_loss=0.5 on stdout",
            "val_los=1",
        ),
        (
            "import sys\nfor n in range(99): print('line', n, file=sys.stderr)\n1 / 0",
            "the script ended with exit code 1: ZeroDivisionError: division by zero",
            None,
        ),
    ],
)
def test_why_a_script_failed(tmp_path: Path, script: str, error: str, lines: str | None) -> None:
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    outcome = feed.outcomes[0]
    assert (outcome.ending, outcome.error) == (Ending.FAILED, error)
    if lines is not None:
        assert outcome.traceback == lines
    else:
        said = (outcome.traceback or "").splitlines()
        assert len(said) == 40
        assert "line 98" in said


def test_a_program_that_is_not_there_fails_its_trial(tmp_path: Path) -> None:
    feed = Remembering([{}, {"text": "a\0b"}])
    run(program(tmp_path, "", command=("/no/such/program", "${args}")), feed)
    assert [each.ending for each in feed.outcomes.values()] == [Ending.FAILED] * 2
    assert "FileNotFoundError" in (feed.outcomes[0].error or "")
    assert "/no/such/program" in (feed.outcomes[0].error or "")
    assert "null byte" in (feed.outcomes[1].error or "")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_metric_that_is_not_finite_ends_the_trial(tmp_path: Path, value: str) -> None:
    script = f"""
        import time
        from sweeps import report
        report(val_loss=1, other=float("nan"))
        report(val_loss=float("{value}"))
        report(val_loss=2)
        time.sleep(60)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    outcome = feed.outcomes[0]
    assert (outcome.ending, outcome.step, outcome.epochs) == (Ending.DIVERGED, 2, 2)
    assert [point.diverged for point in feed.points] == [False, True]
    assert outcome.seconds < 5


def test_a_pruned_script_that_does_not_listen_is_ended_at_once(tmp_path: Path) -> None:
    script = """
        import time
        print("val_loss=1", flush=True)
        time.sleep(60)
    """
    feed = Remembering([{}], judge=lambda _: True)
    run(program(tmp_path, script), feed)
    assert feed.outcomes[0].ending is Ending.STOPPED
    assert feed.outcomes[0].seconds < 5


def test_a_script_that_goes_on_reporting_is_ended_at_the_next(tmp_path: Path) -> None:
    script = """
        import time
        from sweeps import report
        report(val_loss=1)
        open("heard", "w").write(str(report(val_loss=1)))
        report(val_loss=1)
        time.sleep(60)
    """
    feed = Remembering([{}], judge=lambda point: point.epoch == 2)
    run(program(tmp_path, script), feed)
    assert (tmp_path / "heard").read_text() == "True"
    assert len(feed.points) == 2
    assert feed.outcomes[0].seconds < script_run.LEAVE_SECONDS


def test_a_script_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = """
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
        print("val_loss=1", flush=True)
        while True:
            time.sleep(1)
    """
    feed = Remembering([{}], judge=lambda _: True)
    began = time.monotonic()
    run(program(tmp_path, script), feed, grace_seconds=0.5)
    assert feed.outcomes[0].ending is Ending.STOPPED
    assert (tmp_path / "trials/0/stdout.log").read_text() == "val_loss=1\nasked\n"
    assert 0.5 < time.monotonic() - began < 5


def test_the_clock_ends_a_silent_script(tmp_path: Path) -> None:
    feed = Remembering(
        [{}], clock=lambda seconds: {number for number, each in seconds.items() if each >= 0.5}
    )
    run(program(tmp_path, "import time; time.sleep(60)"), feed)
    assert feed.outcomes[0].ending is Ending.STOPPED
    assert 0.5 <= feed.outcomes[0].seconds < 5


def test_what_a_script_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_STORAGE", "postgresql://me:secret@db/x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setenv("FROM_THE_WORKER", "1")
    (tmp_path / "inner").mkdir()
    script = """
        import json, os
        json.dump({"cwd": os.getcwd(), **os.environ}, open("../told.json", "w"))
        print("val_loss=1")
    """
    given = program(tmp_path, script, env={"MINE": "$HOME; x"}, working_directory="inner")
    (tmp_path / "train.py").rename(tmp_path / "inner/train.py")
    run(given, Remembering([{"lr": 0.1, "net": {"depth": 2}}]), device="cuda:1")
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["cwd"] == str(tmp_path / "inner")
    assert told["MINE"] == "$HOME; x"
    assert (told["FROM_THE_WORKER"], told["CUDA_VISIBLE_DEVICES"]) == ("1", "6")
    assert "SWEEPS_STORAGE" not in told
    folder = str(tmp_path / "trials/0")
    assert (told["SWEEPS_STUDY"], told["SWEEPS_TRIAL"]) == ("a study", "0")
    assert told["SWEEPS_TRIAL_DIR"] == told["WANDB_DIR"] == folder
    assert (told["WANDB_SWEEP_ID"], told["WANDB_RUN_ID"]) == ("sweeps7", "sweeps7t0")
    assert told["WANDB_MODE"] == "offline"
    assert Path(told["WANDB_SWEEP_PARAM_PATH"]).is_relative_to(folder)


def test_args_come_by_a_file(tmp_path: Path) -> None:
    script = """
        import json, sys
        print("val_loss=%s" % json.load(open(sys.argv[1]))["lr"])
    """
    feed = Remembering([{"lr": 0.25}])
    command = ("${env}", "${interpreter}", "${program}", "${args_json_file}")
    run(program(tmp_path, script, command=command), feed)
    assert feed.curve() == [0.25]


def test_another_sitecustomize_runs_as_ever(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text("import builtins\nbuiltins.theirs = 3\n")
    feed = Remembering([{}])
    script = "import sitecustomize; print(f'val_loss={theirs}', sitecustomize.__file__)"
    run(program(tmp_path, script, env={"PYTHONPATH": str(tmp_path / "site")}), feed)
    assert feed.curve() == [3.0]
    assert str(tmp_path / "site") in (tmp_path / "trials/0/stdout.log").read_text()


def test_a_trial_that_is_taken_over_finds_its_folder(tmp_path: Path) -> None:
    script = """
        import os, pathlib
        count = pathlib.Path(os.environ["SWEEPS_TRIAL_DIR"], "count")
        seen = int(count.read_text()) if count.exists() else 0
        count.write_text(str(seen + 1))
        print(f"val_loss={seen}")
    """
    given = program(tmp_path, script)
    first, second = Remembering([{}]), Remembering([{}])
    run(given, first)
    run(given, second)
    assert (first.curve(), second.curve()) == ([0.0], [1.0])
    assert (tmp_path / "trials/0/stdout.log").read_text() == "val_loss=1\n"


def test_each_value_is_judged_by_itself(tmp_path: Path) -> None:
    class OneAtATime(Remembering):
        def report(self, points: Sequence[Point]) -> set[int]:
            assert len({point.number for point in points}) == len(points)
            return super().report(points)

    script = "print(*(f'val_loss={n}' for n in range(120)), sep='\\n')"
    feed = OneAtATime([{}, {}], judge=lambda point: (point.number, point.epoch) == (1, 81))
    run(program(tmp_path, script, trials_per_device=2), feed)
    assert feed.curve(0) == list(range(120))
    assert feed.curve(1) == list(range(81))
    assert (feed.outcomes[1].ending, feed.outcomes[1].epochs) == (Ending.STOPPED, 81)


def test_a_client_that_is_not_used_leaves_stdout_to_be_read(tmp_path: Path) -> None:
    script = """
        from sweeps import report
        print("val_loss=3")
        print("lr=1", flush=True)
        print("val_loss=2", flush=True)
        print("lr=2", flush=True)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert [point.values for point in feed.points] == [{"val_loss": 3}, {"lr": 1, "val_loss": 2}]
    assert feed.outcomes[0].test == {"lr": 2}


def test_names_on_stdout_that_are_too_many_are_passed_over(tmp_path: Path) -> None:
    script = """
        for n in range(2000):
            print(f"name{n}={n}")
        print("val_loss=1 another=2 name5=6")
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert feed.outcomes[0].ending is Ending.TRAINED
    values = feed.points[0].values
    assert len(values) == 1000
    assert (values["val_loss"], values["name5"], values["name998"]) == (1, 6, 998)
    assert "another" not in values
