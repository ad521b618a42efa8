"""The study DB's benchmark in small, as `make bench` calls it, on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = "--lanes 3 --reports 2 --seconds 0 --repeats 1 --processes 2 --trials 8 --epochs 3"
CONTENDERS = {
    "Sweeplane",
    "RDBStorage",
    "gRPC proxy of RDBStorage",
    "driver, 64 reports a transaction",
    "driver, 64 rows a transaction",
}
FIGURES = {
    "fill",
    "resume",
    "resume, Optuna",
    "decisions",
    "leaderboard, top 20",
    "leaderboard",
    "curves of 10",
    "status",
}


def test_every_contender_writes_what_it_should(tmp_path: Path) -> None:
    output = tmp_path / "storage.json"
    command = [sys.executable, "-m", "benchmarks.storage", *SMALL.split(), "--markdown"]
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    contenders = {
        "sqlite": CONTENDERS | {"RDBStorage in WAL", "JournalStorage"},
        "postgresql": CONTENDERS,
    }
    assert {(r["database"], r["processes"], r["contender"]) for r in result["writing"]["rows"]} == {
        (database, n, name)
        for database, names in contenders.items()
        for n in (2,)
        for name in names
    }
    for row in result["writing"]["rows"]:
        [only] = row["rounds"]
        own = row["contender"] == "Sweeplane" or row["contender"].startswith("driver")
        # 3 trials a process (1 where each call is a trial's), after 2 to warm up; 2 reports each.
        trials = (3 + 2 if own else 1 + 2) * row["processes"]
        reports = 2 * trials
        points = 3 * reports if own else 0
        assert only["read back"] == {"trials": trials, "reports": reports, "points": points}
        assert row["reports/s"] == only["reports/s"] > row["trials/s"] > 0
    rates = {(r["database"], r["processes"], r["contender"]): r for r in result["writing"]["rows"]}
    assert len(result["writing"]["ratios"]) == len(rates) - 2
    for ratio in result["writing"]["ratios"]:
        where = (ratio["database"], ratio["processes"])
        for rate in ("reports/s", "trials/s"):
            times = rates[*where, "Sweeplane"][rate] / rates[*where, ratio["to"]][rate]
            assert ratio[rate] == pytest.approx(times)
    for reading in result["reading"]["rows"]:
        assert set(reading["seconds"]) == FIGURES
        assert len(reading["seconds"]["decisions"]) == 4
    assert {reading["database"] for reading in result["reading"]["rows"]} == set(contenders)
    assert "| postgresql | 2 | gRPC proxy of RDBStorage |" in done.stdout
