"""Lanes updated by one compiled kernel: the same as eagerly, and eagerly where nothing compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from optimizers import RULES, LaneOptimizer
from optimizers.compiled import can_compile, compilation_pays

SHAPES = [(4, 3), (5,)]


def pair(name: str) -> list[LaneOptimizer]:
    """The same lanes twice, the second compiled, with different hyperparameters a lane."""
    torch.manual_seed(0)
    flat = torch.randn(3, 17, dtype=torch.float64)
    lr = torch.tensor([1e-3, 1e-2, 3e-2], dtype=torch.float64)
    hypers = {"lr": lr, "weight_decay": 10 * lr}
    return [
        LaneOptimizer(RULES[name], flat.clone(), SHAPES, hypers, compile=compiled)
        for compiled in (False, True)
    ]


@pytest.mark.parametrize("name", ["adamw", "lion", "nadam"])
def test_compiled_lanes_equal_eager_ones(name: str) -> None:
    """Through a refill, and a step with a frozen lane, which is made eagerly."""
    eager, compiled = pair(name)
    buffer = compiled.flat
    for step in range(12):
        grad = torch.randn(3, 17, dtype=torch.float64)
        active = torch.tensor([True, True, step != 7])
        for lanes in (eager, compiled):
            if step == 5:
                lanes.flat[1] = 1.0
                lanes.reset(1, {"lr": 0.05})
            lanes.step(grad, active=active if step == 7 else None)
    torch.testing.assert_close(compiled.flat, eager.flat, rtol=1e-12, atol=1e-14)
    assert compiled.flat is buffer
    assert compiled.steps.tolist() == eager.steps.tolist() == [12, 7, 11]


def test_without_a_compiler_lanes_go_on_eagerly_and_say_so(tmp_path: Path) -> None:
    program = (
        "import torch, warnings\n"
        "from optimizers import RULES, LaneOptimizer\n"
        "made = [LaneOptimizer(RULES['adamw'], torch.ones(2, 3), [(3,)], {}, compile=c)"
        " for c in (True, False)]\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    for _ in range(2):\n"
        "        for lanes in made: lanes.step(torch.ones(2, 3))\n"
        "assert torch.equal(made[0].flat, made[1].flat)\n"
        "print(*[w.message for w in caught if w.category is RuntimeWarning], sep='\\n')\n"
    )
    environment = {**os.environ, "CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    [said] = done.stdout.splitlines()
    assert said.startswith("adamw cannot be compiled here and goes on eagerly: ")
    assert "No working C++ compiler found" in said


def test_what_can_be_compiled_and_when_it_pays() -> None:
    assert can_compile(RULES["adamw"])
    assert not can_compile(RULES["adamw"].switched({"cautious": True}))
    assert not can_compile(RULES["lamb"])
    assert not can_compile(RULES["yellowfin"])
    assert compilation_pays(RULES["adamw"], numbers=64 * 6154, steps=100_000)
    assert not compilation_pays(RULES["adamw"], numbers=64 * 6154, steps=1_000)
    assert not compilation_pays(RULES["lamb"], numbers=64 * 6154, steps=100_000)
