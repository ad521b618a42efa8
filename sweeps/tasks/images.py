"""MNIST and CIFAR-10, read from the standard files in a folder that the user gives.

Nothing is downloaded, and nothing is unpickled. The validation examples are the same share of the
training file's for every seed and every user; pixels are scaled by the mean and standard deviation
of the remaining training examples, a channel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.tasks.builtin import classifier
from sweeps.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    Examples = tuple[Tensor, Tensor]


_SPLIT_SEED = 20  # any fixed number: it names the split


def mnist(folder: str, channels: int = 16) -> Task:
    """MNIST's digits, 28 x 28 (50,000 / 10,000 / 10,000), for a small convolutional network.

    Another data set in the same four files (Fashion-MNIST, KMNIST) is trained on in the same way.
    """
    from sweeps.tasks.image_files import read_mnist
    from sweeps.tasks.models import SmallCNN

    train, test = (read_mnist(Path(folder).expanduser(), part) for part in ("train", "t10k"))
    return _task(lambda: SmallCNN(channels, 28), train, test, share=1 / 6, epochs=10, batch_size=64)


def cifar10(folder: str, depth: int = 8, width: int = 16) -> Task:
    """CIFAR-10's photographs, 32 x 32 (45,000 / 5,000 / 10,000), for a residual network.

    Without augmentation. The paper's networks have depths 20, 32, 44, 56 and 110 and width 16.
    """
    from sweeps.tasks.image_files import read_cifar10
    from sweeps.tasks.models import ResNet, check_depth

    check_depth(depth)
    there = Path(folder).expanduser()
    train = read_cifar10(there, [f"data_batch_{number}.bin" for number in range(1, 6)])
    test = read_cifar10(there, ["test_batch.bin"])
    return _task(lambda: ResNet(depth, width), train, test, share=1 / 10, epochs=30, batch_size=128)


def _task(
    model: Callable[[], nn.Module],
    train: Examples,
    test: Examples,
    *,
    share: float,
    epochs: int,
    batch_size: int,
) -> Task:
    """Split off `share` of the training examples, `[N, C, H, W]` of bytes, and scale all."""
    import torch

    images, labels = train
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    held_out = round(share * len(images))
    valid, rest = order[:held_out], order[held_out:]
    mean, deviation = _statistics(images[rest])

    def scaled(bytes_: Tensor) -> Tensor:
        return bytes_.float().sub_(mean).div_(deviation)

    splits = {
        "train": (scaled(images[rest]), labels[rest]),
        "valid": (scaled(images[valid]), labels[valid]),
        "test": (scaled(test[0]), test[1]),
    }
    return classifier(model, splits, epochs=epochs, batch_size=batch_size)


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, `[C, 1, 1]`, in units of the bytes.

    They are those of the histogram, which is exact and takes no memory.
    """
    import torch

    values = torch.arange(256, dtype=torch.float64)
    rows = [torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]
    shares = torch.stack(rows) / rows[0].sum()  # [C, 256]
    mean = shares.double() @ values
    deviation = (shares.double() @ values.square() - mean.square()).sqrt()
    return mean.float().view(-1, 1, 1), deviation.float().view(-1, 1, 1)
