"""Sweep files whose task is a function that trains by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.errors import UserError
from sweeps.launch import open_task
from sweeps.spec import Spec, SpecError, load_spec
from sweeps.tasks import load_factory, trains_itself

LOOPS = """
def train(trial, depth, width=3):
    raise AssertionError("nothing is trained")

def positional(trial, /, **more): ...

def second(width, trial): ...

def by_name(*, trial): ...

def many(*trial): ...

def nothing(depth=2): ...

class Loop:
    def __call__(self, trial, rate=1.0): ...

loop = Loop()
"""


def load(folder: Path, text: str, task: str = "loops.py:train") -> Spec:
    (folder / "loops.py").write_text(LOOPS)
    (folder / "sweep.yaml").write_text(f"task: {task}\n{text}")
    return load_spec(folder / "sweep.yaml")


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(folder, text)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", True),
        ("positional", True),
        ("loop", True),
        ("second", False),
        ("by_name", False),
        ("many", False),
        ("nothing", False),
    ],
)
def test_its_first_parameter_tells_it_from_a_factory(
    name: str, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / "loops.py").write_text(LOOPS)
    assert trains_itself(load_factory(f"loops.py:{name}", tmp_path)) is expected


def test_its_other_arguments_are_the_tasks(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        "task_args: {depth: 4}\nparameters: {width: {values: [1, 2]}, lr: 0.1}\n"
        "metric: {name: val_acc, goal: maximize}\nepochs: 7\nbaseline: {width: 9}\n",
    )
    assert spec.own_loop
    assert spec.metric.name == "val_acc"
    own = {k.name: k.distribution.describe() for k in spec.space.knobs if k.owner.kind == "task"}
    assert own == {"depth": "4", "width": "{1, 2}"}
    opened = open_task(spec)
    assert opened.function is load_factory("loops.py:train", tmp_path)
    assert (opened.epochs, opened.batch_size) == (7, 32)
    baseline = spec.baseline_config(epochs=7, batch_size=32)
    assert baseline is not None
    assert baseline.task_args == {"depth": 4, "width": 9}


def test_searched_sizes_have_their_largest_and_absent_ones_their_default(tmp_path: Path) -> None:
    text = "task_args: {depth: 1}\nparameters: {batch_size: {values: [8, 64]}}\n"
    opened = open_task(load(tmp_path, text))
    assert (opened.epochs, opened.batch_size) == (30, 64)


def test_what_it_would_never_see_is_refused(tmp_path: Path) -> None:
    said = faults(
        tmp_path,
        "task_args: {depth: 1, trial: 3}\nprecision: bf16\nrepeats: 3\ncompile: true\nlanes: 8\n"
        "average: [none, swa]\nbaseline: {average: ema}\nenqueue: [{average: swa}]\n",
    )
    itself = "but task 'loops.py:train' trains by itself (it takes a `trial`):"
    average = (
        "but the task trains by itself (it takes a `trial`): average the weights in the function, "
        "with optimizers.WeightAverage"
    )
    assert said == [
        "sweep.yaml:2: task 'loops.py:train': argument 'trial' is unknown. Known: depth, width",
        f"sweep.yaml:3: precision is 'bf16', {itself} choose it in the function",
        f"sweep.yaml:4: repeats is 3, {itself} train with several seeds in the function, and "
        "report their mean",
        f"sweep.yaml:5: compile is true, {itself} call torch.compile in the function",
        f"sweep.yaml:6: lanes is 8, {itself} give workers: N for several trials at once",
        f'sweep.yaml:7: average is ["none", "swa"], {average}',
        f"sweep.yaml:8: baseline: average is 'ema', {average}",
        f"sweep.yaml:9: enqueue[0]: average is 'swa', {average}",
    ]


def test_what_changes_nothing_is_allowed(tmp_path: Path) -> None:
    text = "precision: float32\nrepeats: 1\ncompile: false\nlanes: 1\naverage: [none]\n"
    assert load(tmp_path, f"task_args: {{depth: 1}}\n{text}").own_loop


def test_a_needed_argument_is_asked_for_and_a_factorys_metric_is_a_curve(tmp_path: Path) -> None:
    [missing] = faults(tmp_path, "epochs: 1\n")
    assert missing.startswith("sweep.yaml:1: task 'loops.py:train' needs the argument 'depth'")
    with pytest.raises(SpecError, match=r"metric.name is 'val_acc'; give a curve"):
        load(tmp_path, "metric: {name: val_acc, goal: maximize}\n", "loops.py:nothing")
    with pytest.raises(SpecError, match=r"metric.name is ' '; give a curve"):
        load(tmp_path, "task_args: {depth: 1}\nmetric: {name: ' ', goal: maximize}\n")


def test_a_factory_that_returns_nothing_hears_how_a_loop_is_told(tmp_path: Path) -> None:
    spec = load(tmp_path, "epochs: 1\n", "loops.py:nothing")
    with pytest.raises(UserError) as caught:
        open_task(spec)
    assert str(caught.value) == (
        "task 'loops.py:nothing': its factory returned a NoneType, not a sweeps.Task. A function "
        "that trains by itself has `trial` as its first parameter"
    )
