"""What is hostile or broken in a trial stays the trial's own problem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from script_runs import Remembering, program, run

from sweeps.engines.base import Ending
from sweeps.engines.script import reports

NASTY = [
    "$(touch owned); `touch owned` & touch owned | touch owned > owned",
    "'; DROP TABLE trials; --",
    '"quoted" \\ and\nlines\r\n\ttabs',
    "../../../../etc/passwd",
    "--help",
    "é \u2028 \U0001f600 \udc80",
    "%s %(x)s {0} ${program} ${envvar:PATH}",
    "x" * 100_000,
]


def test_values_and_names_reach_the_script_as_they_are(tmp_path: Path) -> None:
    script = """
        import json, os, sys
        json.dump(sys.argv[1:], open("argv.json", "w"))
        print("val_loss=1")
    """
    params = {f"name {n} {value[:40]}": value for n, value in enumerate(NASTY)}
    feed = Remembering([params])
    run(program(tmp_path, script), feed)
    assert feed.outcomes[0].ending is Ending.TRAINED
    said = json.loads((tmp_path / "argv.json").read_text())
    assert said == [f"--{name}={value}" for name, value in params.items()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["argv.json", "train.py", "trials"]
    assert sorted(path.name for path in (tmp_path / "trials").iterdir()) == ["0"]


RAW = """
    import json, os, socket, sys

    def connect():
        own = socket.socket(socket.AF_UNIX)
        own.connect(os.environ["SWEEPS_REPORT"])
        return own

    def send(data):
        own = connect()
        try:
            own.sendall(data)
            own.shutdown(socket.SHUT_WR)
            heard = b""
            while more := own.recv(65536):
                heard += more
            return heard
        except OSError:
            return b""
"""


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("os.urandom(5000) + b'\\n'", b"it is not JSON"),
        ("b'[' * 60000 + b'\\n'", b"it is not JSON"),
        ("b'[1]\\n'", b"it is not an object of JSON"),
        ("b'{}\\n'", b"a report is"),
        ('b\'{"values": {"val_loss": "x"}}\\n\'', b"'val_loss' is not a number"),
        ('b\'{"values": {"a\\\\nb": 1}}\\n\'', b"printable"),
        ('b\'{"values": {"": 1}}\\n\'', b"printable"),
        ("b'{\"values\": {\"a\": 1' + b'0' * 400 + b'}}\\n'", b"too large"),
        ("b'{\"values\": {\"' + b'x' * 300 + b'\": 1}}\\n'", b"printable"),
        ("b'x' * 10_000_000", b"longer than 65536 bytes"),
    ],
)
def test_garbage_is_refused_and_the_trial_goes_on(tmp_path: Path, sent: str, why: bytes) -> None:
    script = f"""{RAW}
    heard = send({sent})
    open("heard", "wb").write(heard)
    from sweeps import report
    report(val_loss=1)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert feed.outcomes[0].ending is Ending.TRAINED
    assert feed.curve() == [1.0]
    log = (tmp_path / "trials/0/stderr.log").read_bytes()
    assert b"sweeps: a report of trial 0 was refused: " in log
    assert why in log
    heard = (tmp_path / "heard").read_bytes()
    assert not heard or why in heard


def test_a_flood_ends_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_VALUES", 2_000)
    script = f"""{RAW}
    if "--flood=1" in sys.argv:
        own = connect()
        while True:
            own.sendall(b'{{"values": {{"val_loss": 1}}}}\\n' * 1000)
    from sweeps import report
    report(val_loss=2)
    """
    feed = Remembering([{"flood": 1}, {"flood": 0}, {"flood": 0}])
    run(program(tmp_path, script, trials_per_device=2), feed)
    flooded, *others = (feed.outcomes[number] for number in range(3))
    # It reads no answer: the connection is closed when they fill it, or the values are too many.
    assert flooded.ending is Ending.FAILED
    assert flooded.epochs <= 2_000
    assert [each.ending for each in others] == [Ending.TRAINED] * 2


@pytest.mark.parametrize("file", [None, "metrics.jsonl"])
def test_a_million_values_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None
) -> None:
    monkeypatch.setattr(reports, "MOST_VALUES", 5_000)
    script = """
        import sys
        with open("metrics.jsonl", "w") as file:
            for n in range(1_000_000):
                print("val_loss=1")
                file.write('{"val_loss": 1}\\n')
    """
    feed = Remembering([{}])
    run(program(tmp_path, script, metrics_file=file, env={"PYTHONUNBUFFERED": ""}), feed)
    outcome = feed.outcomes[0]
    assert outcome.ending is Ending.FAILED
    assert outcome.error == (
        "the script has reported val_loss more than 5000 times; report it once an epoch, or "
        "every so many steps"
    )
    assert outcome.epochs <= 5_000


def test_too_many_names_are_refused(tmp_path: Path) -> None:
    script = """
        from sweeps import report
        for n in range(2000):
            report({f"name{n}": n})
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert "more than 1000 names" in (feed.outcomes[0].error or "")


def test_connections_that_are_too_many_wait(tmp_path: Path) -> None:
    script = f"""{RAW}
    held = [connect() for _ in range(100)]
    for own in held:
        own.close()
    from sweeps import report
    report(val_loss=1)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert feed.outcomes[0].ending is Ending.TRAINED, feed.outcomes[0]


def test_output_is_kept_in_bounds_and_says_where_it_is_cut(tmp_path: Path) -> None:
    script = """
        import os
        line = b"x" * 99 + b"\\n"
        for _ in range(200):
            os.write(1, line * 500)
        os.write(1, b"y" * 200_000)
        os.write(2, b"\\xff\\n")
        os.write(1, b"\\nval_loss=1\\n")
    """
    feed = Remembering([{}])
    run(program(tmp_path, script), feed)
    assert feed.curve() == [1.0]
    log = (tmp_path / "trials/0/stdout.log").read_bytes()
    assert 8_300_000 < len(log) < 8 * 1024 * 1024 + 200_000
    assert log.startswith(b"x" * 99 + b"\n")
    assert log.endswith(b"\nval_loss=1\n")
    head, cut, tail = log.partition(b"\n[... ")
    left_out = int(tail.split()[0])
    assert len(head) + left_out + len(tail.partition(b"...]\n")[2]) == 10_000_000 + 200_012
    assert cut
    assert (tmp_path / "trials/0/stderr.log").read_text() == "\ufffd\n"


def test_a_metrics_file_that_is_no_file_is_not_read(tmp_path: Path) -> None:
    script = """
        import os
        os.mkfifo("metrics.jsonl")
        from sweeps import report
        report(val_loss=1)
    """
    feed = Remembering([{}])
    run(program(tmp_path, script, metrics_file="metrics.jsonl"), feed)
    assert feed.outcomes[0].ending is Ending.TRAINED
