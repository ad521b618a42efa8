"""A sweep file's task looked at by another process: what it says, and when there is nobody."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from studies import SweeplaneError, UserError
from sweeps.checking import answer, answered, write_request
from sweeps.launch import open_task
from sweeps.spec import Spec, load_spec


def sweep(folder: Path, metric: str = "valid/loss") -> Spec:
    file = folder / "sweep.yaml"
    file.write_text(f"task: iris-mlp\nmetric: {{name: {metric}, goal: minimize}}\nrun_cap: 40\n")
    return load_spec(file)


def test_another_process_says_what_the_task_is_like(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    request = write_request(tmp_path, spec)
    began = time.monotonic()
    threading.Timer(0.3, answer, [request]).start()
    found, own = answered(request, lambda: True)(spec), open_task(spec)
    assert time.monotonic() - began >= 0.3
    assert (found.epochs, found.batch_size) == (own.epochs, own.batch_size) == (60, 16)
    with pytest.raises(SweeplaneError):  # it has none to build
        found.tasks({})
    assert not request.exists()
    answer(request)  # a worker that was started again: nothing is left to look at


def test_what_is_refused_is_refused_in_the_same_words(tmp_path: Path) -> None:
    spec = sweep(tmp_path, "valid/nonsense")
    request = write_request(tmp_path, spec)
    answer(request)
    with pytest.raises(UserError) as here:
        open_task(spec)
    with pytest.raises(UserError) as there:
        answered(request, lambda: True)(spec)
    assert str(there.value) == str(here.value)
    assert "valid/nonsense" in str(here.value)


def test_what_the_command_line_overrides_in_the_file_is_not_read_there(tmp_path: Path) -> None:
    file = sweep(tmp_path).path
    file.write_text(f"{file.read_text()}workers: plenty\ndevice: tpu\n")
    spec = load_spec(file, {"workers": 2, "device": "cpu"})
    request = write_request(tmp_path, spec)
    answer(request)
    assert answered(request, lambda: False)(spec).epochs == 60


def test_without_anybody_it_looks_itself(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    request = write_request(tmp_path, spec)
    found = answered(request, lambda: False)(spec)
    assert found.tasks({}).batch_size == 16
