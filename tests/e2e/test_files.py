"""`sweeps init` and `sweeps validate`, and the examples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from image_folders import write_cifar10, write_mnist

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_init_writes_a_file_that_runs(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    done = sweeps("init", "--yes", "--task", "iris-mlp", "--trials", "3")
    assert done.code == 0, done.err
    assert "Next: sweeps validate sweep.yaml; sweeps run sweep.yaml" in done.out
    text = (tmp_path / "sweep.yaml").read_text()
    assert "optimizer: [adamw, sgd]" in text
    ran = sweeps("run", "sweep.yaml", "--tracking", "none", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["ended"] == "all 3 trials have run"


def test_init_overwrites_nothing_and_leaves_no_wrong_file(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text("mine")
    refused = sweeps("init", "--yes")
    assert refused.code == 2
    assert "sweep.yaml exists already" in refused.err
    wrong = sweeps("init", "--yes", "--force", "--optimizer", "adamv")
    assert wrong.code == 2
    assert "did you mean 'adam" in wrong.err
    assert (tmp_path / "sweep.yaml").read_text() == "mine"
    other = sweeps("init", "--yes", "--optimizer", "adamv", "-o", "other.yaml")
    assert other.code == 2
    assert not (tmp_path / "other.yaml").exists()


def test_validate_marks_what_is_yours(sweeps: Callable[..., Any]) -> None:
    done = sweeps("validate", str(EXAMPLES / "own_task.yaml"))
    assert done.code == 0, done.err
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "[1e-3, 0.1] log" in lines["adamw.lr"]
    assert lines["adamw.lr"].rstrip().endswith("yours")
    assert lines["adamw.beta1"].rstrip().endswith("default")
    assert lines["average"].rstrip().endswith("default")
    assert "= 0.999" in lines["adam.beta2"]
    assert "9 dimensions, continuous" in done.out
    grid = sweeps("validate", str(EXAMPLES / "grid.yaml"), "--json")
    assert json.loads(grid.out)["size"] == 16


def test_validate_draws_the_space(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    done = sweeps("validate", str(EXAMPLES / "digits.yaml"), "--plot", "--png", "space.png")
    assert done.code == 0, done.err
    assert "1,000 samples of the space" in done.out
    assert "Factor on the learning rate over a training" in done.out
    picture = (tmp_path / "space.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000


def test_plan_says_what_the_demo_would_take_and_writes_nothing(
    sweeps: Callable[..., Any], tmp_path: Path
) -> None:
    demo = str(EXAMPLES / "digits.yaml")
    done = sweeps("plan", demo, "--workers", "2", "--price", "3600", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["trials"], found["epochs"], found["steps_per_epoch"]) == (80, 30, 1079 // 32)
    assert (found["fuses"], found["workers"], found["parameters"]) == (True, 2, 8970)
    full, best = found["without_pruning"], found["best_case"]
    assert full["epochs"] == 2400
    assert best["epochs"] == pytest.approx(80 * (3 + 6 / 3 + 18 / 9 + 3 / 27))
    assert full["cost"] == pytest.approx(full["device_seconds"])
    assert full["seconds"] == pytest.approx(full["device_seconds"] / 2)
    pace = found["steps_per_second"]
    assert set(pace) >= {"1", str(found["lanes"])}
    needed = 2400 * (33 / pace[str(found["lanes"])])
    assert full["device_seconds"] == pytest.approx(needed, rel=0.5)  # and evaluations
    shown = sweeps("plan", demo)
    assert shown.code == 0, shown.err
    assert "train at once in each worker" in shown.out
    assert "the pruner's best case" in shown.out
    assert "  cost" not in shown.out
    assert list(tmp_path.iterdir()) == []


def test_plan_refuses_what_run_refuses(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("task: iris-mlp\noptimizer: adamv\n")
    refused = sweeps("plan", "sweep.yaml")
    assert (refused.code, refused.out) == (2, "")
    assert "sweep.yaml:2: optimizer 'adamv' is unknown; did you mean 'adam" in refused.err
    assert sweeps("plan", "none.yaml").code == 2
    wrong = sweeps("plan", "sweep.yaml", "--price", "-1")
    assert wrong.code == 2
    assert "--price" in wrong.err
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_runs(sweeps: Callable[..., Any], tmp_path: Path, path: Path) -> None:
    """Shortened to two trials of two epochs; everything else as it stands."""
    if path.stem in ("accelerate", "lightning", "transformers"):
        pytest.importorskip(path.stem)
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    write_mnist(tmp_path / "data" / "mnist")
    write_cifar10(tmp_path / "data" / "cifar-10-batches-bin")
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("run_cap:", "epochs:"))]
    (tmp_path / path.name).write_text("\n".join([*kept, "run_cap: 2", "epochs: 2", ""]))
    text = (tmp_path / path.name).read_text().replace("step_epochs: {values: [5, 10]}", "")
    (tmp_path / path.name).write_text(text)
    done = sweeps("run", path.name, "--tracking", "none", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["ended"] == "all 2 trials have run"


def test_an_example_without_its_files_says_which_and_where(sweeps: Callable[..., Any]) -> None:
    for name, file in (("mnist", "train-images-idx3-ubyte"), ("cifar10", "data_batch_1.bin")):
        done = sweeps("run", str(EXAMPLES / f"{name}.yaml"), "--tracking", "none")
        assert done.code == 2
        assert f"has no {file}" in done.err
        assert "from the folder that task_args gives (folder: " in done.err
        assert "Traceback" not in done.err


def test_the_example_task_is_at_most_ten_lines() -> None:
    source = (EXAMPLES / "own_task.py").read_text()
    factory = source[source.index("def wine") :].rstrip().splitlines()
    assert len(factory) <= 10


def test_the_readmes_sweep_file_is_right(sweeps: Callable[..., Any], tmp_path: Path) -> None:
    """The snippet of a search space of one's own, beside the example task that it names."""
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    snippets = [part.partition("```")[0] for part in readme.split("```yaml\n")[1:]]
    (snippet,) = [text for text in snippets if "task: own_task.py:wine\noptimizer" in text]
    shutil.copy(EXAMPLES / "own_task.py", tmp_path)
    (tmp_path / "sweep.yaml").write_text(snippet)
    done = sweeps("validate", "sweep.yaml", "--json")
    assert done.code == 0, done.err
    knobs = {knob["label"]: knob for knob in json.loads(done.out)["spec"]["knobs"]}
    assert knobs["sgd.momentum"]["source"] == "yours"
    assert knobs["sgd.weight_decay"]["source"] == "default"
    assert not knobs["adamw.beta2"]["searched"]
