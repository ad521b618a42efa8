"""MNIST and CIFAR-10: what is read from real files in their formats, and what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import examples, write_cifar10, write_idx, write_mnist

from studies import UserError
from sweeps import Task
from sweeps.tasks.image_files import read_cifar10, read_idx, read_mnist
from sweeps.tasks.images import cifar10, mnist


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_read_from_its_four_files(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, suffix=suffix)
    images, labels = read_mnist(tmp_path, "t10k")
    wanted, classes = examples(40, (28, 28), 1)
    assert np.array_equal(images.squeeze(1).numpy(), wanted)
    assert np.array_equal(labels.numpy(), classes)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert tuple(images.shape) == (40, 1, 28, 28)


def test_cifar10_is_read_from_its_binary_files(tmp_path: Path) -> None:
    write_cifar10(tmp_path, each=10)
    images, labels = read_cifar10(tmp_path, ["data_batch_2.bin", "test_batch.bin"])
    wanted = [examples(10, (3, 32, 32), seed) for seed in (1, 5)]
    assert np.array_equal(images.numpy(), np.concatenate([own for own, _ in wanted]))
    assert np.array_equal(labels.numpy(), np.concatenate([own for _, own in wanted]))


def test_an_idx_file_by_hand(tmp_path: Path) -> None:
    """Big-endian sizes, the last dimension the fastest."""
    path = tmp_path / "x"
    path.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 8, 7, 6, 5, 4]))
    assert read_idx(path, 3).tolist() == [[[9, 8, 7], [6, 5, 4]]]


def parts(task: Task) -> list[tuple[torch.Tensor, ...]]:
    made = [task.train, task.valid, task.test]
    return [part for part in made if isinstance(part, tuple)]


@pytest.mark.parametrize(
    ("make", "write", "sizes", "channels"),
    [(mnist, write_mnist, [200, 40, 40], 1), (cifar10, write_cifar10, [225, 25, 50], 3)],
)
def test_the_split_is_fixed_and_the_scale_is_the_training_examples(
    tmp_path: Path,
    make: Callable[[str], Task],
    write: Callable[[Path], Path],
    sizes: list[int],
    channels: int,
) -> None:
    made = parts(make(str(write(tmp_path))))
    again = parts(make(str(tmp_path)))
    assert [len(part[0]) for part in made] == sizes
    for one, other in zip(made, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    train = made[0][0].double().transpose(0, 1).flatten(1)
    assert len(train) == channels
    assert train.mean(1).abs().max() < 1e-6
    assert (train.std(1, correction=0) - 1).abs().max() < 1e-6
    assert made[2][0].double().transpose(0, 1).flatten(1).mean(1).abs().max() > 1e-4
    rows = [{tuple(image.flatten().tolist()) for image in part[0]} for part in made]
    assert sum(map(len, rows)) == len(set.union(*rows)) == sum(sizes)


def cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda folder: (folder / "t10k-labels-idx1-ubyte").unlink(),
        r"/.* has no t10k-labels-idx1-ubyte \(or .gz\). The task mnist reads "
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
        r"t10k-labels-idx1-ubyte, .* folder that task_args gives",
    ),
    "cut": (
        lambda folder: cut(folder / "train-images-idx3-ubyte", 1000),
        "train-images-idx3-ubyte has 1,000 bytes, but should have 188,176 for 240 x 28 x 28",
    ),
    "cut header": (
        lambda folder: cut(folder / "train-images-idx3-ubyte", 9),
        "is not an IDX file of bytes in 3 dimensions",
    ),
    "magic": (
        lambda folder: (folder / "train-labels-idx1-ubyte").write_bytes(b"<html>"),
        "is not an IDX file of bytes in 1 dimensions: it starts with '3c 68 74 6d', not "
        "'00 00 08 01'",
    ),
    "empty": (
        lambda folder: (folder / "train-labels-idx1-ubyte").write_bytes(b""),
        "it starts with '', not '00 00 08 01'",
    ),
    "no zip": (
        lambda folder: (folder / "train-labels-idx1-ubyte").rename(
            folder / "train-labels-idx1-ubyte.gz"
        ),
        "train-labels-idx1-ubyte.gz cannot be read: Not a gzipped file",
    ),
    "cut zip": (
        lambda folder: (
            (folder / "train-labels-idx1-ubyte").unlink(),
            (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(99))[:-9]),
        ),
        "train-labels-idx1-ubyte.gz cannot be read: ",
    ),
    "other sizes": (
        lambda folder: write_idx(folder / "train-images-idx3-ubyte", np.zeros((240, 20, 24))),
        "its images are 20 x 24, not 28 x 28",
    ),
    "other labels": (
        lambda folder: write_idx(folder / "train-labels-idx1-ubyte", np.full(240, 26)),
        "has the label 26; those of 10 classes are 0 to 9",
    ),
    "two downloads": (
        lambda folder: write_idx(folder / "train-labels-idx1-ubyte", np.zeros(239)),
        "train-images-idx3-ubyte has 240 images, but train-labels-idx1-ubyte has 239 labels",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_of_mnist_that_are_refused(tmp_path: Path, name: str) -> None:
    break_it, expected = BROKEN[name]
    write_mnist(tmp_path)
    break_it(tmp_path)
    with pytest.raises(UserError, match=expected):
        mnist(str(tmp_path))


def test_files_of_cifar10_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no data_batch_1.bin.*and test_batch.bin.*folder"):
        cifar10(str(tmp_path / "nowhere"))
    write_cifar10(tmp_path, each=10)
    (tmp_path / "data_batch_4.bin").rename(tmp_path / "data_batch_4")
    with pytest.raises(UserError, match=r"has no data_batch_4.bin.* the Python version, pickles"):
        cifar10(str(tmp_path))
    (tmp_path / "data_batch_4").rename(tmp_path / "data_batch_4.bin")
    cut(tmp_path / "data_batch_4.bin", 3073 * 9 + 5)
    with pytest.raises(UserError, match=r"4.bin has 27,662 bytes, .*records of 3,073 bytes"):
        cifar10(str(tmp_path))
    (tmp_path / "data_batch_4.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(UserError, match=r"4.bin has the label 10; those of 10 classes"):
        cifar10(str(tmp_path))


def test_the_resnet_has_the_papers_sizes(tmp_path: Path) -> None:
    """He et al. 2015, table 6: 0.27 M weights at depth 20; 10 outputs, halved twice."""
    write_cifar10(tmp_path, each=10)
    count = {}
    for depth in (8, 14, 20):
        model = cifar10(str(tmp_path), depth=depth).model()
        count[depth] = sum(p.numel() for p in model.parameters())
        assert sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) == depth - 1
        assert tuple(model(torch.zeros(2, 3, 32, 32)).shape) == (2, 10)
    assert count[20] == 269_722
    for depth in (2, 9, 12):
        with pytest.raises(UserError, match=f"depth is {depth}; .* has 8, 14, 20"):
            cifar10(str(tmp_path), depth=depth)
