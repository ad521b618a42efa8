"""Opening a task's data: what fits in memory is read once, so that batches are one indexing.

The batches stay those that the dataset or the loader gives: the same examples in the same order,
with the same random numbers drawn. So nothing is read once whose examples may differ from one
reading to the next (augmentation), and nothing that a loader makes batches of in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from studies.errors import UserError
from sweeps.tasks.data import DatasetSplit, LoaderSplit, Split, TensorSplit, place
from sweeps.tasks.memory import free_memory
from sweeps.tasks.randomness import Randomness, kept
from sweeps.tasks.reading import ReadDataset, ReadLoader

if TYPE_CHECKING:
    from sweeps.tasks.task import Data

SHARE_OF_MEMORY = 1 / 4  # of what is free, that one set of a task may take
COMPARED = 32  # examples that are read twice
CHUNK = 256  # examples that are read at a time

RANDOM = "its examples are random (they draw random numbers, or differ when read twice)"

CPU = torch.device("cpu")


def open_split(
    name: str,
    data: Data,
    device: torch.device,
    dtype: torch.dtype,
    say: Callable[[str], None] = lambda _: None,
) -> Split:
    """Put `data` on `device`, its floating-point tensors in `dtype`.

    `say` is told whether a dataset or a loader is read once, and if not, why.

    Raises:
        UserError: the data's type is none that a task may have.
    """
    if isinstance(data, tuple):
        return TensorSplit(tuple(place(tensor, device, dtype) for tensor in data))
    split: LoaderSplit | DatasetSplit
    if isinstance(data, DataLoader):
        split = LoaderSplit(name, data, device, dtype)
    elif _is_map_style(data):
        split = DatasetSplit(data, device, dtype)
    else:
        raise UserError(
            f"Task: {name} must be a tuple of tensors, a map-style dataset or a DataLoader, got "
            f"{type(data).__name__}"
        )
    try:
        with kept():
            tensors = _read(data, device, dtype)
    except _ReadAnewError as reason:
        say(f"{name} is read anew in every epoch: {reason}")
        return split
    except Exception as error:  # the user's own; where it matters, training meets it again
        say(f"{name} is read anew in every epoch: {type(error).__name__}: {error}")
        return split
    size = _size(sum(tensor.nbytes for tensor in tensors))
    say(f"{name} is read once into memory: {len(tensors[0]):,} examples, {size}")
    return ReadLoader(tensors, data) if isinstance(data, DataLoader) else ReadDataset(tensors)


def _is_map_style(data: object) -> bool:
    if isinstance(data, IterableDataset):  # it has the attributes too
        return False
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


class _ReadAnewError(Exception):
    """Why data is not read once."""


def _read(data: Any, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return all examples of a dataset, or of that of a loader, in order.

    Raises:
        _ReadAnewError: they do not fit, or their batches would not be the same.
    """
    dataset, how = data, {}
    if isinstance(data, DataLoader):
        _check_loader(data)
        dataset = data.dataset
        how = {
            "num_workers": data.num_workers,
            "multiprocessing_context": data.multiprocessing_context,
            "worker_init_fn": data.worker_init_fn,
        }
    count = len(dataset)
    if count == 0:
        raise _ReadAnewError("it is empty")
    sample = range(0, count, max(1, count // COMPARED))[:COMPARED]
    first = _sampled(dataset, sample)
    typed = [place(part, CPU, dtype) for part in first]
    needed = sum(part.nbytes for part in typed) / len(sample) * count
    limit = min(free_memory(CPU), free_memory(device)) * SHARE_OF_MEMORY
    if needed > limit:
        raise _ReadAnewError(
            f"it takes {_size(needed)}, more than a quarter of the free memory ({_size(limit)})"
        )
    before, start = Randomness.now(), 0
    whole = tuple(part.new_empty(count, *part.shape[1:]) for part in typed)
    for parts in DataLoader(dataset, CHUNK, generator=torch.Generator(), **how):
        for all_of_it, part, like in zip(whole, parts, first, strict=True):
            if (part.dtype, part.shape[1:]) != (like.dtype, like.shape[1:]):
                raise _ReadAnewError("its examples differ in type or shape")
            all_of_it[start : start + len(part)] = part
        start += len(parts[0])
    again = [part[list(sample)] for part in whole]
    if not before.is_now() or not all(map(_same, again, typed)):
        raise _ReadAnewError(RANDOM)
    return tuple(tensor.to(device) for tensor in whole)


def _check_loader(loader: DataLoader[Any]) -> None:
    dataset = loader.dataset
    if not _is_map_style(dataset):
        raise _ReadAnewError("it is a stream")
    if type(loader).__iter__ is not DataLoader.__iter__:
        raise _ReadAnewError(f"{type(loader).__name__} iterates in its own way")
    if loader.batch_sampler is None or loader.collate_fn is not default_collate:
        raise _ReadAnewError("it has a collate_fn of its own")


def _sampled(dataset: Any, sample: Sequence[int]) -> list[Tensor]:
    """Return some examples as a batch.

    Raises:
        _ReadAnewError: they are random.
    """
    before = Randomness.now()
    first, second = (_collated(dataset, sample) for _ in range(2))
    if not before.is_now() or not all(map(_same, first, second)):
        raise _ReadAnewError(RANDOM)
    return first


def _collated(dataset: Any, sample: Sequence[int]) -> list[Tensor]:
    at_once = getattr(dataset, "__getitems__", None)
    examples = at_once(list(sample)) if at_once else [dataset[place] for place in sample]
    batch = default_collate(examples)
    if not isinstance(batch, tuple | list) or not all(isinstance(x, Tensor) for x in batch):
        raise _ReadAnewError("its examples are not tuples of tensors")
    return list(batch)


def _same(a: Tensor, b: Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())  # NaN is NaN


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
