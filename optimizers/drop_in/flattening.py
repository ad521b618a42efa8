"""`flatten_parameters`: a param group's weights in one buffer, when the user asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from optimizers.drop_in.averages import AveragingOptimizer
from optimizers.drop_in.flat import FlatRun, can_flatten, flatten
from optimizers.drop_in.fused import fused_kernel
from optimizers.drop_in.pieces import new_state
from optimizers.drop_in.work import Work
from optimizers.rule import Rule

_step_of = itemgetter("step")


class FlatteningOptimizer(AveragingOptimizer):
    """An optimizer that can lay its weights one after the other in memory."""

    @torch.no_grad()
    def flatten_parameters(self) -> None:
        """Lay each param group's weights one after the other in memory, for faster steps.

        It pays for many small weights on a CPU where torch has a fused kernel (AdamW, Adam, SGD,
        Adagrad): `benchmarks/optimizers.py` measures it. The parameters stay the same objects with
        the same values; their data become views of one tensor, so that a weight that is saved by
        itself takes the others along. Groups whose weights are large, share memory, or are not
        float32 or float64, stay as they are. A weight or a state that is replaced later is
        found out, and its group is updated as without this call.
        """
        for index, group in enumerate(self.param_groups):
            rule, params = self._rule_of(group), group["params"]
            states = self._states_of(rule, params)
            kernel = fused_kernel(rule)
            if kernel is not None and can_flatten(rule, params, states):
                flatten(params)
                self._work(index).flat = FlatRun(rule, kernel, params, states)

    def _flat_gradient(self, index: int, group: Mapping[str, Any]) -> tuple[FlatRun, Tensor] | None:
        """The group's gradients as one tensor, None where its weights do not lie flat."""
        run = self._work(index).flat
        if run is None or not run.holds(self._rule_of(group), group["params"], self.state):
            return None
        g = run.gradient()
        return None if g is None else (run, g)

    def _states_of(self, rule: Rule, params: list[Tensor]) -> list[dict[str, Any]]:
        """The weights' states, which are made at their first gradients."""
        states: list[dict[str, Any]] = list(map(self.state.__getitem__, params))
        try:
            all(map(_step_of, states))
        except KeyError:
            for p, state in zip(params, states, strict=True):
                if "step" not in state:  # a wrapper of another library may have put its own there
                    state.update(new_state(rule, p))
        return states

    def _work(self, index: int) -> Work:
        works: dict[int, Work] = self.__dict__.setdefault("_works", {})
        return works.setdefault(index, Work())
