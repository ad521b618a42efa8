"""A task of your own: a function that returns a `sweeps.Task`. See own_task.yaml beside it."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn

from sweeps import Task


def wine(hidden=32):
    x, y = (torch.from_numpy(array) for array in load_wine(return_X_y=True))
    x = ((x - x[::2].mean(0)) / x[::2].std(0)).float()
    return Task(
        model=lambda: nn.Sequential(nn.Linear(13, hidden), nn.ReLU(), nn.Linear(hidden, 3)),
        train=(x[::2], y[::2]),
        valid=(x[1::4], y[1::4]),
        test=(x[3::4], y[3::4]),
        loss=F.cross_entropy,
    )
