"""Reading a sweep file is light: a wrong one is refused at once, before anything heavy loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SWEEP = """\
task: digits-mlp
optimizer: [adamw, sgd]
schedule: [cosine, step]
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}
  hidden: {distribution: q_log_normal, mu: 4}
enqueue: [{optimizer: sgd, lr: 0.1}]
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


def test_a_task_file_is_read_without_heavy_imports(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = subprocess.run(
        [sys.executable, "-c", READ], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
