"""How much memory is said to be free."""

from __future__ import annotations

import os

import torch

from sweeps.tasks.memory import free_memory


def test_free_memory_is_a_part_of_the_machines() -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 50e6 < free_memory(torch.device("cpu")) < whole
