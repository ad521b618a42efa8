"""Readers of the files that MNIST and CIFAR-10 come in: IDX, and CIFAR-10's binary version.

Source: the formats as described by their authors, at yann.lecun.com/exdb/mnist and
www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from studies.errors import UserError

CLASSES = 10
MNIST_SIDE = 28
MNIST_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
CIFAR_SHAPE = (3, 32, 32)


def read_mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Return the images `[N, 1, 28, 28]`, bytes, and labels `[N]` of "train" or "t10k".

    Raises:
        UserError: a file is missing or is not what its name says.
    """
    images_path, labels_path = (_find_idx(folder, f"{part}-{kind}") for kind in MNIST_KINDS)
    images = read_idx(images_path, 3)
    labels = _checked(labels_path, read_idx(labels_path, 1))
    if images.shape[1:] != (MNIST_SIDE, MNIST_SIDE):
        height, width = images.shape[1:]
        raise UserError(f"{images_path}: its images are {height} x {width}, not 28 x 28")
    if len(images) != len(labels):
        raise UserError(
            f"{images_path} has {len(images)} images, but {labels_path.name} has {len(labels)} "
            "labels: take both files from one download"
        )
    return images.unsqueeze(1), labels


def read_cifar10(folder: Path, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the images `[N, 3, 32, 32]`, bytes, and labels `[N]` of some files.

    A record is a byte with the label and 3 x 32 x 32 with the red, green and blue pixels.

    Raises:
        UserError: a file is missing or is not of such records.
    """
    size = 1 + math.prod(CIFAR_SHAPE)
    found = []
    for name in names:
        path = folder / name
        if not path.is_file():
            raise _missing(folder, name)
        records = np.fromfile(path, dtype=np.uint8)
        if len(records) == 0 or len(records) % size:
            raise UserError(
                f"{path} has {len(records):,} bytes, which are no whole records of {size:,} bytes "
                f"(the published files have {10_000 * size:,}): extract it anew from "
                "cifar-10-binary.tar.gz"
            )
        rows = torch.from_numpy(records).view(-1, size)
        _checked(path, rows[:, 0])
        found.append(rows)
    whole = torch.cat(found)
    return whole[:, 1:].reshape(-1, *CIFAR_SHAPE), whole[:, 0].long()


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Return the bytes in an IDX file (plain or .gz), in its shape.

    The file starts with 0, 0, the type (8: unsigned bytes), the number of dimensions, and each
    dimension as a big-endian integer of four bytes.

    Raises:
        UserError: it has another type, number of dimensions or size.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}. Download it anew") from error
    magic, wanted = content[:4], bytes([0, 0, 8, dimensions])
    start = 4 + 4 * dimensions
    if magic != wanted or len(content) < start:
        raise UserError(
            f"{path} is not an IDX file of bytes in {dimensions} dimensions: it starts with "
            f"'{magic.hex(' ')}', not '{wanted.hex(' ')}'. Download it anew"
        )
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(int).tolist()
    expected = start + math.prod(shape)
    if len(content) != expected:
        shown = " x ".join(map(str, shape))
        raise UserError(
            f"{path} has {len(content):,} bytes, but should have {expected:,} for {shown}. "
            "Download it anew"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).copy()).view(shape)


def _find_idx(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    parts = [f"{part}-{kind}" for part in ("train", "t10k") for kind in MNIST_KINDS]
    raise UserError(
        f"{folder.absolute()} has no {name} (or .gz). The task mnist reads {', '.join(parts)}, as "
        "published, from the folder that task_args gives (folder: path/to/mnist)"
    )


def _missing(folder: Path, name: str) -> UserError:
    text = (
        f"{folder.absolute()} has no {name}. The task cifar10 reads data_batch_1.bin to "
        "data_batch_5.bin and test_batch.bin, those of the binary version "
        "(cifar-10-binary.tar.gz), from the folder that task_args gives (folder: "
        "path/to/cifar-10-batches-bin)"
    )
    if (folder / name.removesuffix(".bin")).is_file():
        text += ". What is there is the Python version, pickles, which are never read"
    return UserError(text)


def _checked(path: Path, labels: Tensor) -> Tensor:
    if len(labels) and int(labels.max()) >= CLASSES:
        raise UserError(
            f"{path} has the label {int(labels.max())}; those of {CLASSES} classes are 0 to "
            f"{CLASSES - 1}. Is it another data set's?"
        )
    return labels.long()
