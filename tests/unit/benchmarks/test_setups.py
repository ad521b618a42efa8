"""The set-ups of benchmarks/setups.py: each trains, and by lanes as far as torch's layers allow."""

from __future__ import annotations

import pytest
import torch

from benchmarks.setups import (
    ALONE,
    TRACED,
    Epoch,
    as_written,
    measure,
    read_once,
    setup,
    table,
    trains_as,
)
from benchmarks.tutorials import SETUPS
from sweeps.engines.replica import Replica

RECURRENT = {"LSTM tagger": "lstm", "GRU classifier": "gru"}


@pytest.mark.parametrize("name", SETUPS)
def test_a_set_up_trains_and_is_stacked_unless_its_layers_forbid(name: str) -> None:
    work = setup(name, "cpu")
    replica: Replica = work.setting.replicas(work.run.data, work.run.trial)[0]
    before = [p.detach().clone() for p in replica.model.parameters()]
    next(iter(replica.steps()))
    moved = [
        not torch.equal(p, old) for p, old in zip(replica.model.parameters(), before, strict=True)
    ]
    assert all(moved)
    kind, reason = trains_as(work)
    if name in RECURRENT:
        assert kind == ALONE
        assert f"aten::{RECURRENT[name]}" in reason
    else:
        assert (kind, reason) == (TRACED, "")


@pytest.mark.parametrize("name", ["MLP", "autoencoder", "GRU classifier"])
def test_the_loader_as_written_gives_what_is_read_once(name: str) -> None:
    """A loader, a dataset and tensors: as many examples to train, the same to validate."""
    work = setup(name, "cpu")
    readers = zip(as_written(work), read_once(work), strict=True)
    train, valid = ([_inputs(own), _inputs(once)] for own, once in readers)
    assert train[0].shape == train[1].shape
    assert torch.equal(valid[0], valid[1])


def _inputs(read: Epoch) -> torch.Tensor:
    return torch.cat([x for (x,), _ in read(1)])


def test_a_sweep_of_a_set_up_is_measured() -> None:
    work = setup("matrix factorisation", "cpu")
    found = measure(work, count=3, epochs=1, lanes=2, rounds=1)
    assert (found["lanes"], found["steps a trial"]) == (2, 16)
    assert found["parameters"] == (900 + 1600) * 33
    seconds, times = found["seconds"], found["lanes, times as fast as"]
    assert times["serial"] == pytest.approx(seconds["serial"] / seconds["lanes"], rel=0.05)
    row = table({"matrix factorisation": found}).splitlines()[2]
    assert row.startswith("| matrix factorisation | a traced program | 2 |")
