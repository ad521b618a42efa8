"""How a task's factory is found, and what is said when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies import UserError
from sweeps.tasks import TASKS, load_factory


def test_built_in_names_are_found() -> None:
    assert [load_factory(name, Path()).__name__ for name in TASKS] == [
        name.replace("-", "_") for name in TASKS
    ]


def test_a_file_is_looked_up_beside_the_sweep_file_and_imports_its_neighbours(
    tmp_path: Path,
) -> None:
    (tmp_path / "neighbour_of_task.py").write_text("VALUE = 41\n")
    (tmp_path / "own.py").write_text(
        "from neighbour_of_task import VALUE\ndef make(x=1):\n    return VALUE + x\n"
    )
    assert load_factory("own.py:make", tmp_path)() == 42


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(f"def make():\n    return {value}\n")
    assert load_factory("a/own.py:make", tmp_path)() == 1
    assert load_factory("b/own.py:make", tmp_path)() == 2


def test_a_module_is_looked_up_beside_the_sweep_file(tmp_path: Path) -> None:
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "tasks.py").write_text("def make():\n    return 7\n")
    assert load_factory("package_of_mine.tasks:make", tmp_path)() == 7


@pytest.mark.parametrize(
    ("ref", "source", "expected"),
    [
        ("digits-mpl", "", "task 'digits-mpl' is unknown; did you mean 'digits-mlp'?"),
        ("missing.py:make", "", "task 'missing.py:make': there is no file"),
        ("own.py:mak", "def make(): pass\n", "has no 'mak'; did you mean 'make'?"),
        ("own.py:LR", "LR = 3\n", "'LR' is a int, not a function"),
        ("own.py:make", "import nothing_like_it\n", "No module named 'nothing_like_it'"),
        ("own.py:make", "def make(:\n", "SyntaxError: invalid syntax"),
        ("own.py:make", "raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
    ],
)
def test_what_cannot_be_loaded(tmp_path: Path, ref: str, source: str, expected: str) -> None:
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(UserError) as caught:
        load_factory(ref, tmp_path)
    assert expected in str(caught.value)


def test_the_line_of_the_users_own_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(UserError, match=r"ZeroDivisionError: division by zero \(.*own.py, line 2"):
        load_factory("own.py:make", tmp_path)
    (tmp_path / "own.py").write_text("def make():\n    return 1\n")
    assert load_factory("own.py:make", tmp_path)() == 1  # mended: imported anew
