"""Schedules made of a function of the step number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optimizers.hyper import Hyper
from optimizers.schedules.schedule import Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Lambda(Schedule):
    """decay = function(t), t a whole number. Source: torch's LambdaLR."""

    function: Callable[[int], float]
    name: str = "lambda"
    paper: str = field(default="PyTorch, torch.optim.lr_scheduler.LambdaLR", compare=False)
    hypers: Mapping[str, Hyper] = field(default_factory=dict, compare=False)

    @property
    def foreseeable(self) -> bool:
        return False

    def decay(
        self, t: Tensor, total: Tensor, h: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> Tensor:
        del total, h, state
        steps = [int(step) for step in t.flatten().tolist()]
        return t.new_tensor(self.factors(steps)).reshape(t.shape)

    def factors(self, steps: list[int]) -> list[float]:
        """The factor at each of `steps`."""
        return [float(self.function(step)) for step in steps]


@dataclass(frozen=True, kw_only=True)
class Multiplicative(Lambda):
    """decay = function(1) * function(2) * ... * function(t). Source: torch's MultiplicativeLR.

    The products are kept, so that the function is asked about each step once.
    """

    name: str = "multiplicative"
    paper: str = field(default="PyTorch, torch.optim.lr_scheduler.MultiplicativeLR", compare=False)
    _products: list[float] = field(
        default_factory=lambda: [1.0], init=False, repr=False, compare=False
    )

    def factors(self, steps: list[int]) -> list[float]:
        products = self._products
        for step in range(len(products), max(steps, default=0) + 1):
            products.append(products[-1] * float(self.function(step)))
        return [products[step] for step in steps]
