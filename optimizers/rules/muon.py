"""Muon (`muon`): momentum orthogonalized by Newton-Schulz for matrices, AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, multiply_add, tensor_norm, with_axes
from optimizers.rule import Rule, State
from optimizers.rules.adam import ADAMW

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MuonRule(Rule):
    """Momentum made nearly orthogonal; weights of fewer than two axes are AdamW's.

        decoupled: p = p * (1 - lr * weight_decay)
        m = momentum * m + (1 - momentum) * g
        u = momentum * m + (1 - momentum) * g            (without nesterov: u = m)
        X = u / max(|u|, eps)                            (Frobenius norm)
        X = a * X + (b * A + c * A^2) X,  A = X X^T      (ns_steps times)
        p = p - lr * ratio * X

    `ratio` for a matrix [rows, columns], by `adjust_lr_fn`: "original" (or None, as in torch)
    sqrt(max(1, rows / columns)), "match_rms_adamw" 0.2 * sqrt(max(rows, columns)), which makes
    AdamW's lr and weight_decay fit. A weight of more axes, as a convolution's, counts as the matrix
    [first, all others].

    Other weights take AdamW's step with `adam_lr` (the schedule scales it as it does lr),
    `adam_betas`, `adam_eps` and the same weight_decay. So do matrices where `orthogonalize` is
    False, which is meant for embeddings and output layers: {"params": ..., "orthogonalize": False}.

    As published, the iteration runs in bfloat16, though the norm before it is taken in the weights'
    dtype; for float64 weights all of it runs in float64, where torch has bfloat16 too.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, and his muon.py, whose
    ratio for convolutions is that of the kernel's sides, here of the matrix that is orthogonalized;
    "match_rms_adamw": Liu et al., arXiv:2502.16982, eq. 4. For matrices as torch.optim.Muon.
    """

    nesterov: bool = True
    ns_steps: int = 5
    adjust_lr_fn: str = "original"
    orthogonalize: bool = True

    buffers: ClassVar[tuple[str, ...]] = ("momentum_buffer", "exp_avg", "exp_avg_sq")
    shaped: ClassVar[bool] = True
    scheduled: ClassVar[tuple[str, ...]] = ("lr", "adam_lr")
    torch_twin: ClassVar[bool] = False
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "nesterov": (True, False),
        "ns_steps": (5, 1, 2, 3, 4, 6, 7, 8, 9, 10),
        "adjust_lr_fn": ("original", "match_rms_adamw"),
        "orthogonalize": (True, False),
    }
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "ns_coefficients": ("ns_a", "ns_b", "ns_c"),
        "adam_betas": ("adam_beta1", "adam_beta2"),
    }
    positional: ClassVar[tuple[str, ...]] = (
        "lr",
        "weight_decay",
        "momentum",
        "nesterov",
        "ns_coefficients",
        "eps",
        "ns_steps",
        "adjust_lr_fn",
    )

    def buffer_shape(self, buffer: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self._turns(shape) == (buffer == "momentum_buffer") else (0,)

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        others = {name.removeprefix("adam_"): h[name] for name in h if name.startswith("adam_")}
        others |= {
            "lr": h["adam_lr"] * h["lr_factor"],
            "lr_factor": h["lr_factor"],
            "weight_decay": h["weight_decay"],
        }
        adam = replace(ADAMW, decay=self.decay).scalars(others, t)
        own = ("lr", "momentum", "eps", "ns_a", "ns_b", "ns_c")
        return {
            **{name: h[name] for name in own},
            "fresh": 1 - h["momentum"],
            **self.decay_scalars(h),
            **{f"adam_{name}": value for name, value in adam.items()},
        }

    def shrunk(self, p: Tensor, c: Mapping[str, Number]) -> Tensor:
        return super().shrunk(p, c if self._turns(p.shape[1:]) else _adam(c))

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not self._turns(p.shape[1:]):
            p, new = ADAMW.update(p, g, s, _adam(c))
            return p, {**new, "momentum_buffer": s["momentum_buffer"]}
        m = s["momentum_buffer"].lerp(g, c["fresh"])
        u = (g.lerp(m, c["momentum"]) if self.nesterov else m).flatten(2)
        rows, columns = u.shape[1:]
        ratio = max(1, rows / columns) ** 0.5
        if self.adjust_lr_fn == "match_rms_adamw":
            ratio = 0.2 * max(rows, columns) ** 0.5
        x = orthogonalized(u, {name: with_axes(c[name], 3) for name in _NEWTON}, self.ns_steps)
        return multiply_add(p, x.reshape(p.shape), -c["lr"] * ratio), {**s, "momentum_buffer": m}

    def switched(self, switches: Mapping[str, object]) -> Self:
        if "adjust_lr_fn" in switches and switches["adjust_lr_fn"] is None:
            switches = {**switches, "adjust_lr_fn": "original"}
        return super().switched(switches)

    def _turns(self, shape: tuple[int, ...]) -> bool:
        """Is a weight of this shape a matrix whose momentum is orthogonalized?"""
        return self.orthogonalize and len(shape) > 1


_NEWTON = ("eps", "ns_a", "ns_b", "ns_c")


def orthogonalized(x: Tensor, c: Mapping[str, Number], steps: int) -> Tensor:
    """`steps` of the Newton-Schulz iteration on matrices [K, m, n]: singular values to about 1.

    `c`: eps and the coefficients ns_a, ns_b and ns_c, numbers or [K, 1, 1]. Float64 stays so,
    other dtypes are bfloat16 within.
    """
    low = x if x.dtype.itemsize == 8 else x.bfloat16()
    turned = low.mT if x.shape[1] > x.shape[2] else low
    turned = turned / tensor_norm(x).clamp(min=c["eps"]).to(low.dtype)
    for _ in range(steps):
        turned = _iterated(turned, turned @ turned.mT, *(c[name] for name in _NEWTON[1:]))
    return (turned.mT if x.shape[1] > x.shape[2] else turned).to(x.dtype)


def _iterated(x: Tensor, gram: Tensor, a: Number, b: Number, c: Number) -> Tensor:
    """(a + b * A + c * A^2) X, where A is the `gram` X X^T.

    torch adds products of matrices in one call, with factors that are the same for all of them.
    Lanes' factors go to the diagonals, (a + A (b + c * A)) X, rather than into passes over memory;
    in float64 numbers do too, so that lanes and drop-in round alike: ten steps raise it by 1e5.
    """
    if isinstance(a, float | int):
        if x.dtype.itemsize < 8:
            return x.baddbmm(gram.baddbmm(gram, gram, beta=b, alpha=c), x, beta=a)
        inner = gram * c
    else:
        inner = gram * c.to(x.dtype)
    return _plus_diagonal(gram @ _plus_diagonal(inner, b), a) @ x


def _plus_diagonal(x: Tensor, number: Number) -> Tensor:
    """Add a number to the diagonals of the matrices [K, m, m], in place."""
    x.diagonal(dim1=1, dim2=2).add_(with_axes(number, 2))
    return x


def _adam(c: Mapping[str, Number]) -> dict[str, Number]:
    """The coefficients of the weights that are AdamW's, by the names it knows."""
    return {name.removeprefix("adam_"): c[name] for name in c if name.startswith("adam_")}


# Defaults: torch.optim.Muon; Adam's: MuonWithAuxAdam in the author's muon.py. Ranges: lr from
# torch's 1e-3 over the author's 0.02 to 0.24 (his airbench94_muon, momentum 0.6); momentum about
# these and 0.95; adam_lr and weight_decay as AdamW's.
MUON = MuonRule(
    name="muon",
    paper="Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks",
    hypers={
        "lr": Hyper(1e-3, 1e-3, 3e-1, "log"),
        "weight_decay": Hyper(0.1, 5e-3, 1.0, "log"),
        "momentum": Hyper(0.95, 0.5, 0.98, "one_minus_log", below=1.0),
        "ns_a": Hyper(3.4445, 3.0, 4.0, searched=False, at_least=-math.inf),
        "ns_b": Hyper(-4.775, -5.0, -4.0, searched=False, at_least=-math.inf),
        "ns_c": Hyper(2.0315, 1.5, 2.5, searched=False, at_least=-math.inf),
        "eps": Hyper(1e-7, 1e-12, 1e-3, "log", searched=False),
        "adam_lr": Hyper(3e-4, 1e-4, 1e-1, "log"),
        "adam_beta1": Hyper(0.9, 0.5, 0.98, "one_minus_log", searched=False, below=1.0),
        "adam_beta2": Hyper(0.95, 0.9, 0.9999, "one_minus_log", searched=False, below=1.0),
        "adam_eps": Hyper(1e-10, 1e-12, 1e-3, "log", searched=False),
    },
    class_name="Muon",
    decay="decoupled",
)
