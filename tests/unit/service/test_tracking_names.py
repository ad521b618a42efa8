"""Names that hope to be interpreted, as MLflow gets them."""

from __future__ import annotations

from datetime import datetime

from studies.rows import TrialRow
from sweeps.config import ScriptConfig
from sweeps.tracking import parent, runs

MOMENT = datetime(2026, 1, 1)


def row(params: dict[str, object]) -> TrialRow:
    config = ScriptConfig(params).to_json()
    return TrialRow(3, 1, "COMPLETE", "complete", 0.5, MOMENT, MOMENT, config=config)


def test_two_names_that_mlflow_takes_for_one_stay_two_params() -> None:
    long = "x" * 300
    names = ["a b", "a'b", 'a"b', "a_b", "../../etc", long, f"{long}y", f"{long}z"]
    found = runs.params(row({name: name for name in names}))
    assert list(found) == [
        *("a b", "a_b", "a_b_2", "a_b_3", "etc", "x" * 250, f"{'x' * 240}_2", f"{'x' * 240}_3")
    ]
    assert list(found.values()) == names


def test_a_run_s_name_is_one_short_line_of_text() -> None:
    name = runs.run_name(row({"a\nb": "\x1b[31m" + "y" * 80}))
    assert name.isprintable()
    assert name == "0003 a b= [31m" + "y" * 48 + "..."


def test_a_cell_of_the_description_is_neither_markdown_nor_html() -> None:
    assert parent._short("a|b\n<img src=x>[l](u)`c`*") == (r"a\|b\\n\<img src=x\>\[l\](u)\`c\`\*")
    assert parent._short(0.1234567) == "0.12346"


def test_two_curves_that_mlflow_takes_for_one_stay_two() -> None:
    found = runs.points(row({}), {"a+b": [(1, 0.5), (2, 0.25)], "a*b": [(1, 3.0)], "c": [(1, 4.0)]})
    assert [(p.key, p.step, p.value) for p in found] == [
        *(("a_b", 1, 3.0), ("a_b_2", 1, 0.5), ("a_b_2", 2, 0.25), ("c", 1, 4.0))
    ]
