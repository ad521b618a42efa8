"""How numbers look."""

from __future__ import annotations

import json
import math

import pytest

from sweeps.cli.render import duration, number, sparkline
from sweeps.json_safe import safe


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000012345, "1.234e-05"), (0.97765, "0.9777"), (3, "3"), (None, "-"), ("adamw", "adamw")],
)
def test_number(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.42, "0.4 s"), (59.2, "59 s"), (200, "3 m 20 s"), (7500, "2 h 05 m")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_sparkline_spans_the_range_and_marks_what_is_not_finite() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([1.0, math.nan, 2.0, math.inf]) == "▁x█x"
    assert sparkline([math.nan]) == "x"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert len(sparkline([float(i) for i in range(1000)], width=60)) <= 60


def test_non_finite_numbers_become_strings_that_any_json_parser_reads() -> None:
    value = safe({"a": [math.nan, (1, math.inf)], "b": -math.inf, "c": 0.5})
    text = json.dumps(value, allow_nan=False)
    assert json.loads(text) == {"a": ["NaN", [1, "Infinity"]], "b": "-Infinity", "c": 0.5}
