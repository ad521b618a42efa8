from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def double_by_default() -> Iterator[None]:
    """torch holds the numbers of NAdam's and ASGD's state in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
