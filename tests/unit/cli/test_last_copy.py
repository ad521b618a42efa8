"""Ctrl-C while MLflow gets the last results: nothing is lost, and the summary still comes."""

from __future__ import annotations

import pytest

from sweeps.cli.run import _interrupted


def test_an_interrupted_copy_is_told_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def cut_short() -> bool:
        raise KeyboardInterrupt

    assert _interrupted(cut_short)
    assert "the next `sweeps run` copies them" in capsys.readouterr().err
    assert not _interrupted(lambda: True)
