"""SOAP (`soap`): Adam in the slowly turning eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from optimizers.hyper import Hyper
from optimizers.lane_math import Number, any_lane, square_root, tensor_mean, where, with_axes
from optimizers.rule import Rule, State
from optimizers.rules.eigenbasis import eigenbasis, refresh, turned

if TYPE_CHECKING:
    from torch import Tensor

_AXES = 4


@dataclass(frozen=True, kw_only=True)
class SoapRule(Rule):
    """Adam on the gradient in the eigenbases of its covariances, one basis Q an axis.

        r = Q_L^T g Q_R                                 (g turned along each axis of the weight)
        m = beta1 * m + (1 - beta1) * r
        v = beta2 * v + (1 - beta2) * r^2
        n = Q_L (m / (sqrt(v) + eps)) Q_R^T             (normalize_grads: n / sqrt(mean(n^2)))
        p = p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * n
        decoupled: p = p * (1 - lr * weight_decay)
        GG = shampoo_beta * GG + (1 - shampoo_beta) * g g^T      (for each axis)
        every precondition_frequency updates: Q = qr(GG Q), Q's columns by falling eigenvalues

    The first update only finds GG and its eigenvectors Q: no weight changes, none decays. A
    shampoo_beta below zero means beta2. Axes longer than `max_precond_dim`, those after the fourth,
    and weights of one axis (but with `precondition_1d`) are not turned. `correct_bias` False
    leaves the two factors 1 - beta^t out.

    Of a covariance that has not full rank, rounding chooses some of the eigenvectors, and Adam's
    step depends on them. So the numbers here come from operations that round alike over lanes and
    alone: running products for powers, and no fused multiply-add.

    Source: Vyas et al., arXiv:2409.11321, algorithms 3 and 4, and the authors' soap.py, with
    these differences: m is turned to a new basis only when there is one, QR runs in the state's
    dtype, not float32; bases of one number are left out; merge_dims and channels_last are not here.
    """

    max_precond_dim: int = 10000
    precondition_1d: bool = False
    normalize_grads: bool = False
    correct_bias: bool = True

    buffers: ClassVar[tuple[str, ...]] = (
        "exp_avg",
        "exp_avg_sq",
        *(f"GG{axis}" for axis in range(_AXES)),
        *(f"Q{axis}" for axis in range(_AXES)),
    )
    lane_buffers: ClassVar[Mapping[str, float]] = {"beta1_product": 1.0, "beta2_product": 1.0}
    shaped: ClassVar[bool] = True
    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "max_precond_dim": (10000, 256, 512, 1024, 2048, 4096, 8192),
        "precondition_1d": (False, True),
        "normalize_grads": (False, True),
        "correct_bias": (True, False),
    }

    def buffer_shape(self, buffer: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if buffer.startswith("exp_avg"):
            return shape
        axis = int(buffer[-1])
        return (shape[axis], shape[axis]) if axis in self._axes(shape) else (0,)

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        first, one = t == 1, h["beta1_product"] ** 0
        products = {
            beta: h[f"{beta}_product"] * where(first, one, h[beta]) for beta in ("beta1", "beta2")
        }
        lr = h["lr"]
        if self.correct_bias:
            root = square_root(where(first, one, 1 - products["beta2"]))
            lr = lr * root / where(first, one, 1 - products["beta1"])
        decay = self.decay_scalars(h)
        if "keep" in decay:  # decay comes after the step, so it shrinks that too
            decay["keep"] = where(first, one, decay["keep"])
            lr = lr * decay["keep"]
        shampoo_beta = where(h["shampoo_beta"] < 0, h["beta2"], h["shampoo_beta"])
        return {
            "lr": lr,
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "fresh1": where(first, 0 * one, 1 - h["beta1"]),
            "fresh2": where(first, 0 * one, 1 - h["beta2"]),
            "eps": h["eps"],
            "shampoo_beta": shampoo_beta,
            "shampoo_fresh": 1 - shampoo_beta,
            "first": first * one,
            "due": (t > 1) * ((t - 1) % h["precondition_frequency"] == 0) * one,
            **decay,
            **{f"{beta}_product": product for beta, product in products.items()},
        }

    def update(
        self,
        p: Tensor,
        g: Tensor,
        s: State,
        c: Mapping[str, Number],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        axes = self._axes(p.shape[1:])
        bases = {axis: s[f"Q{axis}"] for axis in axes}
        r = turned(g, bases)
        m = s["exp_avg"] * c["beta1"] + r * c["fresh1"]
        v = s["exp_avg_sq"] * c["beta2"] + r * r * c["fresh2"]
        n = turned(m / v.sqrt().add_(c["eps"]), {axis: q.mT for axis, q in bases.items()})
        if self.normalize_grads:
            n = n / (tensor_mean(n * n).sqrt() + 1e-30)
        gg = self._covariances(g, s, c, axes)
        if axes and any_lane(c["first"]):
            bases = eigenbasis(gg, bases, c["first"])
        if axes and any_lane(c["due"]):
            bases, m, v = refresh(gg, bases, m, v, c["due"])
        new = {f"GG{axis}": x for axis, x in gg.items()}
        new |= {f"Q{axis}": q for axis, q in bases.items()}
        return p - n * c["lr"], {**s, "exp_avg": m, "exp_avg_sq": v, **new}

    def _covariances(
        self, g: Tensor, s: State, c: Mapping[str, Number], axes: Sequence[int]
    ) -> dict[int, Tensor]:
        """The running covariance [K, n, n] of the gradient along each axis."""
        old, fresh = with_axes(c["shampoo_beta"], 3), with_axes(c["shampoo_fresh"], 3)
        found = {}
        for axis in axes:
            x = g.movedim(axis + 1, 1).flatten(2) if g.dim() > 2 else g.unsqueeze(2)
            found[axis] = s[f"GG{axis}"] * old + (x @ x.mT) * fresh
        return found

    def _axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of a weight of this shape that have a basis."""
        if len(shape) == 1 and not self.precondition_1d:
            return ()
        sizes = enumerate(shape[:_AXES])
        return tuple(axis for axis, size in sizes if 1 < size <= self.max_precond_dim)


# Defaults: the authors' soap.py. Ranges: reasoned, about the defaults. lr from a tenth of its
# default, as AdamW's here, and up to AdamW's end; beta1 as the paper sweeps it (0.9 to 0.99,
# appendix), beta2 and weight_decay too, with room below for the short runs of small models. The
# frequency trades time for quality (section 6 of the paper), so nobody searches it by the loss.
SOAP = SoapRule(
    name="soap",
    paper="Vyas et al. 2025, SOAP: improving and stabilizing Shampoo using Adam, arXiv:2409.11321",
    hypers={
        "lr": Hyper(3e-3, 3e-4, 1e-1, "log"),
        "beta1": Hyper(0.95, 0.8, 0.99, "one_minus_log", below=1.0),
        "beta2": Hyper(0.95, 0.8, 0.999, "one_minus_log", below=1.0),
        "shampoo_beta": Hyper(
            -1.0, 0.8, 0.999, "one_minus_log", searched=False, at_least=-1.0, below=1.0
        ),
        "eps": Hyper(1e-8, 1e-12, 1e-3, "log", searched=False),
        "weight_decay": Hyper(1e-2, 1e-3, 1.0, "log"),
        "precondition_frequency": Hyper(
            10, 1, 100, "log", searched=False, integer=True, at_least=1.0
        ),
    },
    class_name="SOAP",
    decay="decoupled",
)
