"""The data sets that ship with scikit-learn are read, split and scaled as scikit-learn does it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sweeps.tasks.scikit_learn import classification, read


@pytest.mark.parametrize(("name", "load"), [("digits", load_digits), ("iris", load_iris)])
def test_the_split_is_scikit_learns(name: str, load) -> None:
    bunch = load()
    features, classes = read(name)
    np.testing.assert_array_equal(features, bunch.data)
    np.testing.assert_array_equal(classes, bunch.target)
    fifth, chosen = round(len(classes) / 5), {"random_state": 20}
    rest_x, test_x, rest_y, test_y = train_test_split(
        bunch.data, bunch.target, test_size=fifth, stratify=bunch.target, **chosen
    )
    train_x, valid_x, train_y, valid_y = train_test_split(
        rest_x, rest_y, test_size=fifth, stratify=rest_y, **chosen
    )
    scaler = StandardScaler().fit(train_x)
    wanted = {"train": (train_x, train_y), "valid": (valid_x, valid_y), "test": (test_x, test_y)}
    found = classification(name)
    assert found.keys() == wanted.keys()
    for split, (x, y) in wanted.items():
        scaled = torch.tensor(scaler.transform(x), dtype=torch.float32)
        assert torch.equal(found[split][0], scaled)
        assert torch.equal(found[split][1], torch.tensor(y))


def test_reading_them_does_not_import_it() -> None:
    program = (
        "import sys; from sweeps.tasks.builtin import *; from sweeps.tasks.text import char_lm; "
        "digits_mlp(); digits_cnn(); iris_mlp(); char_lm(); assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
