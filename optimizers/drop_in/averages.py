"""The weights to evaluate of an optimizer whose rule averages its own weights (Schedule-Free)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from optimizers.drop_in.pieces import LOW
from optimizers.rule import Rule
from optimizers.swap import swapped


class AveragingOptimizer(Optimizer):
    """An optimizer with weights to evaluate that may be others than those it trains."""

    rule: ClassVar[Rule]
    _evaluating = False

    @torch.no_grad()
    def averaged_parameters(self) -> list[Tensor]:
        """The weights to evaluate, one tensor a parameter in the order of the param groups.

        They are the averages of a Schedule-Free algorithm; of others, the parameters themselves.
        """
        weights: list[Tensor] = []
        for group in self.param_groups:
            rule, hypers = self._rule_of(group), self._hypers_of(group)
            for p in group["params"]:
                state = self.state.get(p)
                if not rule.averages or self._evaluating or not state or not state["step"]:
                    weights.append(p.detach())
                else:
                    weight = p.detach().float() if p.dtype in LOW else p.detach()
                    weights.append(rule.averaged(weight, state, hypers).to(p.dtype))
        return weights

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within: the parameters are the weights to evaluate; afterwards those of training again.

            with optimizer.averaged():
                evaluate(model)

        Nothing happens where the rule does not average, nor in a second `averaged` within. A step
        within is refused.
        """
        if not self.rule.averages or self._evaluating:
            yield
            return
        params = [p for group in self.param_groups for p in group["params"]]
        with swapped(params, self.averaged_parameters()):
            self._evaluating = True
            try:
                yield
            finally:
                self._evaluating = False

    @abstractmethod
    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        """The rule of a param group, with its switches."""

    @abstractmethod
    def _hypers_of(self, group: Mapping[str, Any]) -> dict[str, float]:
        """The hyperparameters of a param group."""
