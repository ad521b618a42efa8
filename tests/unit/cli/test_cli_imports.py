"""`sweeps --help` answers at once: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "mlflow",
    "optuna",
    "sqlalchemy",
    "alembic",
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "plotext",
    "pydantic",
    "rich",
}

PROBE = """
import sys
from sweeps.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code == 0, end.code
print("IMPORTED", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def imported(*arguments: str) -> set[str]:
    code = PROBE.format(arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith("IMPORTED")
    return set(last.split()[1:])


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert imported(*arguments) & HEAVY == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("optimizers",),
        ("schedules", "--json"),
        ("averages",),
        ("averages", "--json"),
        ("tasks",),
        ("optimizers", "--json"),
    ],
)
def test_the_catalogue_needs_no_torch(arguments: tuple[str, ...]) -> None:
    assert imported(*arguments) & {"torch", "mlflow", "optuna", "sqlalchemy", "sklearn"} == set()


def test_validating_a_file_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("task: digits-mlp\noptimizer: [adamw, sgd]\naverage: [none, swa]\n")
    assert imported("validate", str(path)) & {"torch", "mlflow", "sklearn", "scipy"} == set()


def test_who_looks_after_workers_needs_no_torch() -> None:
    code = "import sys, sweeps.crew, sweeps.launch; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "scipy", "sklearn", "mlflow"} & set(done.stdout.split()) == set()
