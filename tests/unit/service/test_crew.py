"""How the processes of `sweeps run --workers` are started, watched and started again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from studies import SweeplaneError, UserError
from sweeps import place as places
from sweeps.place import MOST_DEATHS, Place

ERROR = """
import sys
sys.stderr.write('warning: x\\nError: 5 trials failed with one cause: ValueError: no\\n')
sys.exit(CODE)
"""


def place(text: str) -> Place:
    return Place("worker 1", [sys.executable, "-c", text], dict(os.environ))


def tend(one: Place, until: Callable[[], bool], *, drain: bool = False) -> None:
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        one.tend(drain=drain)
        time.sleep(0.01)


def test_one_that_is_done_stays_so() -> None:
    one = place("raise SystemExit(0)")
    tend(one, lambda: one.over)
    assert (one.error, one.said) == (None, "")


def test_one_that_left_by_itself_is_started_again_while_the_sweep_goes_on() -> None:
    one = place("raise SystemExit(130)")
    tend(one, lambda: bool(one.said))
    assert (one.over, one.said) == (False, "worker 1 ended with 130; it is started again in 0.5 s")
    tend(one, lambda: one.over, drain=True)
    assert one.error is None


@pytest.mark.parametrize(("code", "kind"), [(1, SweeplaneError), (2, UserError)])
def test_one_that_ends_with_an_error_is_not_started_again(
    code: int, kind: type[SweeplaneError]
) -> None:
    one = place(ERROR.replace("CODE", str(code)))
    tend(one, lambda: one.over)
    assert type(one.error) is kind
    assert str(one.error) == "5 trials failed with one cause: ValueError: no"


def test_one_that_dies_is_started_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "FIRST_PAUSE_SECONDS", 0.001)
    starts = tmp_path / "starts"
    one = place(
        f"import os; open({str(starts)!r}, 'a').write('x'); os.kill(os.getpid(), {signal.SIGKILL})"
    )
    tend(one, lambda: bool(one.said))
    assert one.said == "worker 1 was killed by SIGKILL; it is started again in 0.001 s"
    tend(one, lambda: one.over)
    assert starts.read_text() == "x" * MOST_DEATHS
    assert "worker 1 died 5 times in a row; the last time it was killed by SIGKILL" in str(
        one.error
    )


def test_a_traceback_is_a_death_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "FIRST_PAUSE_SECONDS", 0.001)
    one = place("raise OSError('disk')")
    tend(one, lambda: bool(one.said))
    assert one.said.startswith("worker 1 ended with 1 (OSError: disk); it is started again")
    tend(one, lambda: one.over, drain=True)
    assert one.error is None


def test_one_that_drains_may_end_as_it_likes() -> None:
    one = place("import sys; sys.stdin.read(); sys.exit(1)")
    one.tend(drain=False)
    one.send(signal.SIGTERM)
    tend(one, lambda: one.over, drain=True)
    assert one.error is None


READER = """
import sys
for line in sys.stdin:
    print(line, end="", file=open(FILE, "a"), flush=True)
"""


def reader(file: Path) -> Place:
    return place(READER.replace("FILE", repr(str(file))))


def test_one_that_is_started_ahead_of_time_waits_for_the_first_tend(tmp_path: Path) -> None:
    one = reader(file := tmp_path / "read")
    one.start()
    time.sleep(0.2)  # what must not happen has time to
    assert not file.exists()
    tend(one, file.exists)
    for _ in range(3):
        one.tend(drain=False)
    one.end()
    assert file.read_text() == "begin\n"


def test_one_that_has_not_begun_is_not_told_to_by_a_drain(tmp_path: Path) -> None:
    one = reader(file := tmp_path / "read")
    one.start()
    one.tend(drain=True)
    one.send(signal.SIGINT)
    tend(one, lambda: one.over, drain=True)
    assert (one.error, file.exists()) == (None, False)


def test_one_that_died_before_it_began_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "FIRST_PAUSE_SECONDS", 0.001)
    one = reader(file := tmp_path / "read")
    one.start()
    one.send(signal.SIGKILL)
    tend(one, lambda: bool(one.said))
    assert one.said == "worker 1 was killed by SIGKILL; it is started again in 0.001 s"
    tend(one, file.exists)
    one.end()


def test_what_is_ended_is_gone() -> None:
    one = place("import time; time.sleep(600)")
    one.start()
    running = one._running
    assert running is not None
    one.end()
    assert running.process.returncode == -signal.SIGKILL
    one.end()  # nothing is left to end


def test_what_this_process_forks_does_not_keep_the_pipes_open() -> None:
    one = place("import sys; sys.stdin.read()")
    one.start()
    running = one._running
    assert running is not None
    assert running.process.stdin is not None
    said, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(say)
        os.read(said, 1)  # it lives until the test has seen what it wants
        os._exit(0)
    running.process.stdin.close()
    try:
        assert running.process.wait(timeout=30) == 0
    finally:
        os.close(say)
        os.waitpid(child, 0)
        os.close(said)
        one.end()
