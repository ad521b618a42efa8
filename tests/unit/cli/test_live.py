"""What the live table says of the workers' numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from rich.console import Console

from sweeps.cli import live, pace
from sweeps.engines.tally import PHASES
from sweeps.numbers import Numbers
from sweeps.progress import Progress

SHARES = dict(zip(PHASES, (0.031, 0.8, 0.09, 0.02), strict=True))
ONE = Numbers(60, 64, 90000, 2880000, 12.0, 12340.5, 394896.0, SHARES)
TWO = Numbers(1, 1, 12, 384, 3.0, 4.0, 128.0, dict.fromkeys(PHASES, 0.0) | {"training": 1.0})


def shown(numbers: Mapping[str, Numbers]) -> str:
    progress = Progress(total=10, done_before=0, maximize=False, read_numbers=lambda: numbers)
    console = Console(width=120)
    with console.capture() as captured:
        console.print(live._picture(progress, "valid/loss"))
    return captured.get()


def test_the_line_of_one_worker() -> None:
    assert pace.line({"": ONE}) == (
        "lanes 60/64, 12,340 steps/s, 394,896 examples/s; "
        "asking 3%, training 80%, evaluating 9%, reporting 2%"
    )
    assert pace.line({}) is None


@pytest.mark.parametrize(("steps", "said"), [(0.0, "0"), (0.0123, "0.012"), (9.96, "10")])
def test_a_slow_pace_keeps_its_digits(steps: float, said: str) -> None:
    slow = Numbers(1, 1, 1, 1, 1.0, steps, 0.0, SHARES)
    assert f", {said} steps/s" in str(pace.line({"": slow}))


def test_one_worker_has_a_line_and_several_have_a_row_each_too() -> None:
    alone, both, nobody = shown({"": ONE}), shown({"here:7": ONE, "there:8": TWO}), shown({})
    assert "lanes 60/64, 12,340 steps/s" in alone
    assert "worker" not in alone
    assert "lanes 61/65, 12,344 steps/s, 395,024 examples/s; asking 2%, training 90%" in both
    (row,) = (line.split() for line in both.splitlines() if "there:8" in line)
    assert row == ["there:8", "1/1", "4", "128", "0%", "100%", "0%", "0%"]
    assert "steps/s" not in nobody
