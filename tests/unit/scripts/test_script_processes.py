"""Nothing of a trial's processes is left: children, those that hide, and those of a dead worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_runs import ROOT, Remembering, alive, gone, program, run, until, wait_for

from sweeps.control import Interrupted
from sweeps.engines.base import Ending

FAMILY = """
    import os, pathlib, subprocess, sys, time

    sleeper = [sys.executable, "-c", "import signal, time\\n"
               "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(300)"]
    child = subprocess.Popen(sleeper)
    hidden = subprocess.Popen(sleeper, start_new_session=True)
    # One whose parent has ended, in a session of its own: a daemon.
    daemon = ("import subprocess, sys; "
              "print(subprocess.Popen(sys.argv[1:], stdout=2, start_new_session=True).pid)")
    orphan = subprocess.run([sys.executable, "-c", daemon, *sleeper], stdout=subprocess.PIPE)
    found = pathlib.Path("family.tmp")
    found.write_text(" ".join(map(str, [os.getpid(), child.pid, hidden.pid, int(orphan.stdout)])))
    found.rename("family")
"""
WAITS = FAMILY + "    print('val_loss=1', flush=True)\n    time.sleep(300)\n"


def family(folder: Path) -> list[int]:
    """Return a script's processes: itself, its child, one in a session of its own, an orphan."""
    return [int(word) for word in wait_for(folder / "family").split()]


def test_a_pruned_script_leaves_no_process(tmp_path: Path) -> None:
    feed = Remembering([{}], judge=lambda _: True)
    run(program(tmp_path, WAITS), feed, grace_seconds=0.5)
    assert feed.outcomes[0].ending is Ending.STOPPED
    assert len(family(tmp_path)) == 4
    assert not any(alive(process) for process in family(tmp_path))


def test_a_script_that_ends_by_itself_leaves_no_process(tmp_path: Path) -> None:
    feed = Remembering([{}])
    run(program(tmp_path, FAMILY + "    print('val_loss=1')\n"), feed)
    assert feed.outcomes[0].ending is Ending.TRAINED
    assert not any(alive(process) for process in family(tmp_path))


def test_an_interrupted_engine_leaves_no_process(tmp_path: Path) -> None:
    def interrupt(_: object) -> bool:
        raise Interrupted

    feed = Remembering([{}], judge=interrupt)
    with pytest.raises(Interrupted):
        run(program(tmp_path, WAITS), feed)
    assert feed.outcomes == {}
    assert not any(alive(process) for process in family(tmp_path))


WORKER = """
    import sys, tempfile
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from script_runs import Remembering, run
    from sweeps.scripts.program import DEFAULT_COMMAND, Program

    folder = Path(sys.argv[1])
    given = Program(DEFAULT_COMMAND, "train.py", folder)
    run(given, Remembering([{}]))
"""


def test_a_killed_worker_leaves_no_process(tmp_path: Path) -> None:
    program(tmp_path, WAITS)
    (tmp_path / "tmp").mkdir()
    own = program(tmp_path / "tmp", WORKER).folder / "train.py"
    around = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    words = [sys.executable, str(own), str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(words, env=around, start_new_session=True) as worker:
        try:
            left = family(tmp_path)
            assert all(alive(process) for process in left)
        finally:
            worker.kill()
    assert worker.returncode == -signal.SIGKILL
    assert all(gone(process) for process in left)
    until(lambda: os.listdir(tmp_path / "tmp") == ["train.py"])  # the socket is gone, too


def test_a_killed_guardian_takes_the_script_with_it(tmp_path: Path) -> None:
    script = """
        import os, pathlib, time
        print("val_loss=1", flush=True)
        pathlib.Path("script").write_text(str(os.getpid()))
        os.kill(os.getppid(), 9)
        time.sleep(300)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert feed.outcomes[0].ending is Ending.FAILED
    assert "guardian was killed" in (feed.outcomes[0].error or "")
    assert gone(int((tmp_path / "script").read_text()))
