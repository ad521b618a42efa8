"""The schedulers that ask a function of the user's for the factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from torch import Tensor
from torch.optim.optimizer import Optimizer

from optimizers.lr_scheduler.factor_lr import ClosedLR, per_group
from optimizers.schedules.functions import Lambda, Multiplicative

Function = Callable[[int], float]


class LambdaLR(ClosedLR):
    """lr = base_lr * lr_lambda(t), with one function for all groups or a list. torch's arguments.

    As in torch, the state has the attributes of callable objects and nothing of functions.
    """

    kind: type[Lambda] = Lambda
    _derived = ("optimizer", "_schedules")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Function | Sequence[Function],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas: list[Function] = per_group("lr_lambda", optimizer, lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda = {function!r} is invalid; it must be a function")
        self._renew()
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step."""
        return [
            base * schedule.factors([self.last_epoch])[0]
            for base, schedule in zip(self.base_lrs, self._schedules, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        kept = [function_state(function) for function in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, of torch's scheduler of the same name too."""
        state = dict(state_dict)
        for function, kept in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=True):
            if kept is not None:
                vars(function).update(kept)
        super().load_state_dict(state)
        self._renew()

    def _renew(self) -> None:
        self._schedules = [self.kind(function=function) for function in self.lr_lambdas]


class MultiplicativeLR(LambdaLR):
    """lr = base_lr * lr_lambda(1) * lr_lambda(2) * ... * lr_lambda(t). torch's arguments.

    In a SequentialLR it starts from base_lr when its turn comes; torch's goes on from the lr that
    the scheduler before it left, times lr_lambda(0).
    """

    kind = Multiplicative


def function_state(function: Callable[..., float]) -> dict[str, Any] | None:
    """The attributes of a callable object; None for a function, as in torch's states."""
    return None if isinstance(function, FunctionType) else dict(vars(function))
