"""While MLflow gets the last results: what is said, and Ctrl-C, which loses nothing."""

from __future__ import annotations

import pytest

from sweeps.cli import live
from sweeps.cli.run import _interrupted


def test_an_interrupted_copy_is_told_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def cut_short(**_: object) -> bool:
        raise KeyboardInterrupt

    assert _interrupted(cut_short)
    assert "the next `sweeps run` copies them" in capsys.readouterr().err
    assert not _interrupted(lambda **_: True)


def test_a_terminal_has_one_line_that_changes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with live.copying() as say:
        say(20, 1024)
        say(1024, 1024)
    text = "\rCopying to MLflow: 20 of 1024\rCopying to MLflow: 1024 of 1024\n"
    assert capsys.readouterr() == ("", text)


def test_a_file_has_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with live.copying() as say:
        for done in range(20, 100):
            say(done, 1024)
    assert capsys.readouterr() == ("", "Copying to MLflow: 20 of 1024\n")


def test_nothing_is_said_of_a_short_copy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with live.copying():
        pass
    assert capsys.readouterr() == ("", "")
