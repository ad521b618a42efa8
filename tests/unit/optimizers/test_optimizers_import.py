"""The registries come without torch; everything else on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import optimizers


def test_registries_need_no_torch() -> None:
    script = (
        "import sys, optimizers\n"
        "assert optimizers.RULES['adamw'].hypers['beta1'].default == 0.9\n"
        "assert 'weight_decay' in optimizers.search_space('sgd')\n"
        "assert optimizers.SCHEDULES['plateau'].feedback\n"
        "print('torch' in sys.modules)\n"
        "optimizers.AdamW\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("name", optimizers.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(optimizers, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Adamv'"):
        optimizers.Adamv  # noqa: B018
