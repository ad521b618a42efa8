"""Reading a sweep file is light: a wrong one is refused at once, before anything heavy loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SWEEP = """\
task: digits-mlp
optimizer: [adamw, sgd]
schedule: [cosine, step]
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}
  hidden: {distribution: q_log_normal, mu: 4}
enqueue: [{optimizer: sgd, lr: 0.1}]
"""
PROGRAM = """\
program: train.py
metric: {name: loss}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}
  opt: {parameters: {hidden: {distribution: q_log_normal, mu: 4}}}
baseline: {lr: 1, opt.hidden: 3}
"""
READ = """\
import sys
from sweeps.spec import load_spec

spec = load_spec("sweep.yaml")
spec.to_json(), spec.meaning(), spec.space.size()
spec.baseline_config(epochs=1, batch_size=1)
heavy = ("torch", "scipy", "sklearn", "mlflow", "optuna", "numpy", "sqlalchemy")
print(*[name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("text", [SWEEP, PROGRAM], ids=["task", "program"])
def test_a_sweep_file_is_read_without_heavy_imports(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", READ], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
