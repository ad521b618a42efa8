"""The data that ships with scikit-learn, read from its files: importing it takes a second."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_FILES = {"digits": ("digits.csv.gz", 0), "iris": ("iris.csv", 1)}  # file, lines of heading
_SPLITS = Path(__file__).with_name("splits.json")


def datasets_folder() -> Path:
    """Return where the installed scikit-learn keeps its data sets."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "datasets"


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features `[N, F]` and classes `[N]` of `digits` or `iris`."""
    import numpy as np

    file, heading = _FILES[name]
    table = np.loadtxt(datasets_folder() / "data" / file, delimiter=",", skiprows=heading)
    return table[:, :-1], table[:, -1].astype(np.int64)


def classification(name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Split 60 / 20 / 20 by class; scale each feature by the training examples' mean and std.

    `splits.json` has the examples of each set, as scikit-learn's `train_test_split` chose them: a
    fifth to test, then as many to validate, both `stratify`, with `random_state` 20.
    """
    import torch

    features, classes = read(name)
    chosen = json.loads(_SPLITS.read_text(encoding="utf-8"))[name]
    train = features[chosen["train"]]
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std == 0] = 1
    scaled = (features - mean) / std
    return {
        split: (
            torch.tensor(scaled[places], dtype=torch.float32),
            torch.tensor(classes[places]),
        )
        for split, places in chosen.items()
    }
