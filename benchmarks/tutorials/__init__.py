"""Ten training set-ups in the style of public tutorials: a model and a loader each.

They are written as their authors would write them: modules of torch.nn, a dataset or a loader,
the usual loss. None knows of lanes. Data are synthetic, or ship with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from benchmarks.tutorials.pictures import autoencoder, lenet, mlp, vit
from benchmarks.tutorials.ratings import matrix_factorisation
from benchmarks.tutorials.residual import resnet20
from benchmarks.tutorials.segmentation import unet
from benchmarks.tutorials.sequences import gru_classifier, lstm_tagger
from benchmarks.tutorials.text import gpt
from sweeps import Task

SETUPS: Mapping[str, Callable[[], Task]] = MappingProxyType(
    {
        "MLP": mlp,
        "LeNet": lenet,
        "ResNet-20": resnet20,
        "U-Net": unet,
        "autoencoder": autoencoder,
        "LSTM tagger": lstm_tagger,
        "GRU classifier": gru_classifier,
        "GPT-2-like": gpt,
        "ViT": vit,
        "matrix factorisation": matrix_factorisation,
    }
)
"""Name -> the task's factory."""
