"""Eigenbases of covariances, one an axis of a weight, batched over lanes; SOAP turns with them.

`bases` and `covariances` map an axis of the weight (0 is its first) to matrices [K, n, n]. A lane
whose covariances are not finite would end LAPACK's work for all: it is left out and has NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan
from typing import TYPE_CHECKING

from optimizers.lane_math import Number

if TYPE_CHECKING:
    from torch import Tensor

Matrices = Mapping[int, "Tensor"]


def turned(x: Tensor, bases: Matrices) -> Tensor:
    """`x` [K, *shape] in other coordinates: along each axis, Q^T times its vectors."""
    for axis, q in bases.items():
        last = x.movedim(axis + 1, -1)
        flat = last.reshape(x.shape[0], -1, last.shape[-1]) @ q
        x = flat.reshape(last.shape).movedim(-1, axis + 1)
    return x


def eigenbasis(covariances: Matrices, bases: Matrices, flag: Number) -> dict[int, Tensor]:
    """The bases, in lanes with a flag now the covariances' eigenvectors, the largest first."""
    import torch

    ill, lanes = _parted(covariances, flag)
    new = {}
    for axis, gg in covariances.items():
        vectors = _each(lambda x: torch.linalg.eigh(x)[1].flip(-1), gg[lanes])
        new[axis] = _replaced(bases[axis], ill, lanes, vectors)
    return new


def refresh(
    covariances: Matrices, bases: Matrices, m: Tensor, v: Tensor, flag: Number
) -> tuple[dict[int, Tensor], Tensor, Tensor]:
    """The bases, in lanes with a flag one step of the power iteration on: qr(GG Q).

    Q's columns are sorted by their eigenvalues before it. The first moment `m` comes back in the
    new coordinates; of the second, `v`, only the order is changed.
    """
    import torch

    ill, lanes = _parted(covariances, flag)
    if not len(lanes):
        none = {axis: gg[lanes] for axis, gg in covariances.items()}
        return {a: _replaced(q, ill, lanes, none[a]) for a, q in bases.items()}, m, v
    m_part, v_part = turned(m[lanes], {axis: q[lanes].mT for axis, q in bases.items()}), v[lanes]
    fresh, new = {}, {}
    for axis, gg in covariances.items():
        q = bases[axis][lanes]
        ahead = gg[lanes] @ q
        order = (q * ahead).sum(dim=1).argsort(dim=1, descending=True, stable=True)
        along = [1] * v.dim()
        along[0], along[axis + 1] = order.shape
        v_part = v_part.take_along_dim(order.reshape(along), dim=axis + 1)
        ahead = ahead.take_along_dim(order.unsqueeze(1), dim=2)
        fresh[axis] = _each(lambda x: torch.linalg.qr(x)[0], ahead)
        new[axis] = _replaced(bases[axis], ill, lanes, fresh[axis])
    m = m.index_copy(0, lanes, turned(m_part, fresh))
    return new, m, v.index_copy(0, lanes, v_part)


def _parted(covariances: Matrices, flag: Number) -> tuple[Tensor, Tensor]:
    """Of the lanes with a flag: those with a covariance that is not finite, and the others."""
    import torch

    finite = torch.stack([gg.isfinite().flatten(1).all(1) for gg in covariances.values()]).all(0)
    wanted = torch.as_tensor(flag, device=finite.device).reshape(-1) != 0
    return (wanted & ~finite).nonzero()[:, 0], (wanted & finite).nonzero()[:, 0]


def _each(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """LAPACK's `function` of matrices [K, n, n].

    A CPU takes one at a time anyway, and rounds by where in memory a matrix lies: cloned singly
    they lie alike, so that a lane's bits do not hang on the number of lanes.
    """
    import torch

    if x.device.type != "cpu" or not len(x):
        return function(x)
    return torch.stack([function(matrix) for matrix in x])


def _replaced(old: Tensor, ill: Tensor, lanes: Tensor, new: Tensor) -> Tensor:
    """`old` with the matrices `new` in `lanes`, and NaN in the `ill` ones."""
    return old.index_copy(0, lanes, new).index_fill_(0, ill, nan)
