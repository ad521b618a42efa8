"""What `make demo` promises, on the very file that it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parents[2] / "examples" / "digits.yaml"


def test_the_demo_finds_a_better_optimizer_than_the_baseline(sweeps: Callable[..., Any]) -> None:
    done = sweeps("run", str(DEMO), "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    best, baseline = summary["best"], summary["baseline"]
    assert best["value"] >= 0.97
    assert best["value"] > baseline["value"]
    assert set(best["test"]) == set(baseline["test"]) == {"test/accuracy", "test/loss"}
    published = {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.01, "schedule": "constant"}
    assert published.items() <= baseline["params"].items()
    assert "optimizer = torch.optim." in summary["python"]

    trials = json.loads(sweeps("export", "digits").out)["trials"]
    assert len(trials) >= 60
    sampled = [trial["params"] for trial in trials if trial["origin"] == "sampled"]
    branches = {(params["optimizer"], params["schedule"]) for params in sampled}
    assert branches == {(o, s) for o in ("adamw", "sgd") for s in ("cosine", "step")}
    assert sum(trial["outcome"] == "pruned" for trial in trials) > 20  # ASHA at work
