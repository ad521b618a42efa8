"""Small folders in the published formats of MNIST and CIFAR-10, with images that can be learned."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def examples(count: int, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `[count, *shape]` and labels `[count]`, bytes: a class is a pattern with noise."""
    patterns = np.random.default_rng(7).integers(0, 200, (10, *shape))
    noise = np.random.default_rng(seed)
    labels = noise.permutation(np.arange(count) % 10)
    images = patterns[labels] + noise.integers(0, 56, (count, *shape))
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write bytes in the IDX format, zipped if the name says so."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, *, train: int = 240, test: int = 40, suffix: str = "") -> Path:
    """Write MNIST's four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (part, count) in enumerate({"train": train, "t10k": test}.items()):
        images, labels = examples(count, (28, 28), seed)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)
    return folder


def write_cifar10(folder: Path, *, each: int = 50) -> Path:
    """Write CIFAR-10's six files, of `each` images."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        images, labels = examples(each, (3, 32, 32), seed)
        records = np.concatenate([labels[:, None], images.reshape(each, -1)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder
