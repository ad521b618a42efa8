"""`sweeps.report` by itself: it is small, and harmless where no sweep is running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from script_runs import ROOT, Remembering, program, run

from sweeps import report
from sweeps.reporting import ADDRESS


def test_without_a_sweep_it_does_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert ADDRESS not in os.environ
    assert report(step=1, val_loss=0.5) is False
    assert report({"valid/loss": 0.5}) is False
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", ["0.5", b"1", None, [1, 2], 10**400])
def test_what_is_no_number_is_refused_anywhere(value: object) -> None:
    with pytest.raises(TypeError, match=r"report: 'val_loss' is .*; give a number"):
        report(val_loss=value)


def test_it_imports_the_standard_library_alone() -> None:
    code = """
import sys
before = set(sys.modules)
from sweeps import report
report(val_loss=1)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - sys.stdlib_module_names))
"""
    words = [sys.executable, "-S", "-c", code]
    done = subprocess.run(words, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['sweeps']\n", "")


@pytest.mark.parametrize("path", ["/no/such/socket", "/tmp", "x" * 300])
def test_a_sweep_that_is_gone_is_none(path: str) -> None:
    words = [sys.executable, "-c", "from sweeps import report; print(report(a=1))"]
    around = {"PYTHONPATH": str(ROOT), ADDRESS: path}
    done = subprocess.run(words, env=around, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_sweep_that_goes_away_is_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(10)

        thread = threading.Thread(target=hang_up)
        thread.start()
        code = "from sweeps import report; print(report(a=1), report(a=1))"
        around = {"PYTHONPATH": str(ROOT), ADDRESS: str(tmp_path / "s")}
        done = subprocess.run(
            [sys.executable, "-c", code], env=around, capture_output=True, text=True
        )
        thread.join()
    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_forks_and_threads_report_too(tmp_path: Path) -> None:
    script = """
        import multiprocessing, threading
        from sweeps import report

        def work(n):
            for _ in range(5):
                report(val_loss=n)

        report(val_loss=0)
        context = multiprocessing.get_context("fork")
        others = [context.Process(target=work, args=(n,)) for n in (1, 2)]
        others += [threading.Thread(target=work, args=(n,)) for n in (3, 4)]
        for other in others:
            other.start()
        for other in others:
            other.join()
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert sorted(feed.curve()) == [0.0] + [n for n in (1.0, 2.0, 3.0, 4.0) for _ in range(5)]


def test_a_refusal_is_the_scripts_error(tmp_path: Path) -> None:
    script = """
        from sweeps import report
        report({"a\\nb": 1})
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert "ValueError: report: the name 'a\\nb' is not one of 1 to 200" in (
        feed.outcomes[0].error or ""
    )


def test_a_refusal_does_not_silence_the_script(tmp_path: Path) -> None:
    script = """
        from sweeps import report
        for epoch in (1, 2, 3):
            try:
                report({"a\\nb": 1, "val_loss": epoch})
            except ValueError:
                report(val_loss=10 * epoch)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert feed.curve() == [10, 20, 30]
