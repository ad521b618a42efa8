"""Wrong task files: every fault at once, with its line, what is allowed and the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import wrong_keys
import wrong_knobs
import wrong_programs
import wrong_texts

from optimizers import ALGORITHMS, AVERAGES, RULES, SCHEDULES
from optimizers.names import closest, lookup
from studies.errors import UserError
from sweeps.spec import SpecError, load_spec
from sweeps.spec.faults import nearest

CASES = wrong_knobs.CASES | wrong_keys.CASES | wrong_texts.CASES | wrong_programs.CASES


def known(line: str) -> str:
    """The line with the names of the registries, which grow."""
    having = [name for name, each in ALGORITHMS.items() if "momentum" in each.hypers]
    for word, names in (
        ("optimizers", ALGORITHMS),
        ("schedules", SCHEDULES),
        ("averages", ("none", *AVERAGES)),
        ("optimizers with momentum", having),
    ):
        line = line.replace(f"<{word}>", ", ".join(names))
    return line


@pytest.mark.parametrize("case", CASES)
def test_every_fault_is_listed_in_line_order(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, expected = CASES[case]
    Path("sweep.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec("sweep.yaml")
    assert str(caught.value).splitlines() == [f"sweep.yaml:{known(line)}" for line in expected]
    assert caught.value.exit_code == 2


def test_an_unknown_task_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("task: digit-mlp\nparameters: {lr: {min: 2, max: 1}, whatever: 3, gama: 3}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    [task, lr] = str(caught.value).splitlines()
    assert task.startswith(f"{path}:1: task 'digit-mlp' is unknown; did you mean 'digits-mlp'?")
    assert lr == f"{path}:2: parameters.lr: min 2 is greater than max 1"


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("adamv", ("adam", "adamw"), "adamw"),  # as long, so a letter mistaken
        ("adamv", ("adamw", "adam"), "adamw"),
        ("sgdx", tuple(RULES), "sgdw"),
        ("admw", tuple(RULES), "adamw"),
        ("addam", tuple(RULES), "adam"),
        ("AdamW", tuple(RULES), "adamw"),
        ("batch-sise", ("batch_size",), "batch_size"),
        ("lr2", ("lr1", "lr3"), "lr1"),  # nothing between them: the first
        ("beta3", ("zeta3x", "eta3", "beta1"), "beta1"),  # one amiss; as long as
        ("momentum", ("lr",), None),
    ],
)
def test_the_nearest_name_is_the_same_for_files_and_registries(
    name: str, known: tuple[str, ...], near: str | None
) -> None:
    assert closest(name, known) == near
    hint = f"; did you mean '{near}'?" if near else ""
    assert nearest(name, known) == hint
    with pytest.raises(ValueError, match=re.escape(hint or "is unknown. Known")):
        lookup(dict.fromkeys(known, 0), "thing", name)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value) == f"{path}: the file is empty; `sweeps init` writes one to start from"


def test_a_file_that_cannot_be_read_is_the_users_mistake(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(UserError, match=r"missing\.yaml: cannot be read: No such file"):
        load_spec(missing)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"task: digits-mlp\nname: caf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml: is not UTF-8 text \(byte 26\)"):
        load_spec(latin)


def test_an_override_is_checked_like_a_key_but_has_no_line(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("task: digits-mlp\nseed: 1\nrepeats: 0\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path, {"seed": -2})
    assert str(caught.value).splitlines() == [
        f"{path}: seed is -2; give a whole number from 0 to 2147483647",
        f"{path}:3: repeats is 0; give a whole number of 1 or more",
    ]


FACTORIES = """\
import sys

def strict(width, depth=2):
    raise AssertionError("a factory is not called to read a sweep file")

def free(**anything):
    raise AssertionError

def _hidden():
    pass

from os.path import join
not_a_function = 3
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "task: mine.py:strict\n",
            ["1: task 'mine.py:strict' needs the argument 'width': give it in task_args"],
        ),
        (
            "task: mine.py:strict\ntask_args: {widht: 3}\n",
            [
                "1: task 'mine.py:strict' needs the argument 'width': give it in task_args; did you"
                " mean 'widht'?",
                "2: task 'mine.py:strict': argument 'widht' is unknown; did you mean 'width'?"
                " Known: width, depth",
            ],
        ),
        (
            "task: mine.py:strikt\n",
            [
                "1: task 'mine.py:strikt': mine.py has no 'strikt'; did you mean 'strict'? Its"
                " functions: strict, free"
            ],
        ),
        (
            "task: digits-mpl\n",
            [
                "1: task 'digits-mpl' is unknown; did you mean 'digits-mlp'? Built in: char-lm,"
                " char-lstm, cifar10, digits-cnn, digits-mlp, exp-curve, iris-mlp, mnist. Your own:"
                " 'package.module:factory' or 'path/to/file.py:factory'"
            ],
        ),
        (
            "task: broken.py:factory\nseed: -1\n",
            [
                "1: task 'broken.py:factory' cannot be imported: ModuleNotFoundError: No module"
                " named 'torchy' ({folder}/broken.py, line 2)",
                "2: seed is -1; give a whole number from 0 to 2147483647",
            ],
        ),
    ],
)
def test_a_users_own_task_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FACTORIES)
    Path("broken.py").write_text("x = 1\nimport torchy\n")
    Path("sweep.yaml").write_text(lines)
    with pytest.raises(SpecError) as caught:
        load_spec("sweep.yaml")
    shown = [line.replace("{folder}", str(tmp_path)) for line in expected]
    assert str(caught.value).splitlines() == [f"sweep.yaml:{line}" for line in shown]


def test_a_factory_of_any_arguments_takes_any_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORIES)
    path = tmp_path / "sweep.yaml"
    path.write_text("task: mine.py:free\nparameters: {whatever: {values: [1, 2]}}\n")
    assert "whatever" in load_spec(path).space.flat()


def test_a_name_of_task_and_optimizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clash.py").write_text("def factory(lr=1):\n    pass\n")
    path = tmp_path / "sweep.yaml"
    path.write_text("task: clash.py:factory\nparameters: {lr: 0.1}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value) == (
        f"{path}:2: parameters.lr is both adamw's and an argument of the task; nest it (adamw: "
        "{parameters: ...}), and set the task's in task_args"
    )
