"""The benchmark of optimizer steps, in small: it runs, and its table is its figures."""

from __future__ import annotations

from benchmarks.optimizers import compare, markdown


def test_the_smallest_case() -> None:
    rows = compare(rounds=1, cases=["a"])
    by_name = {row["algorithm"]: row["us"] for row in rows}
    assert {"ours", "torch", "torch foreach", "torch fused"} <= by_name["AdamW"].keys()
    assert {"ours", "pytorch_optimizer"} <= by_name["Lion"].keys()
    assert all(us > 0 for row in rows for us in row["us"].values())
    adamw = by_name["AdamW"]
    ratio = adamw["torch fused"] / adamw["ours"]
    line = next(line for line in markdown(rows).splitlines() if "| AdamW |" in line)
    assert line.startswith(f"| a | AdamW | {adamw['ours']:,.0f} | ours, flattened ")
    assert f"torch fused **{ratio:.2f}**" in line
