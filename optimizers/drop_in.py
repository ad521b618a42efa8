"""The rules as `torch.optim.Optimizer` classes, under torch's names and arguments.

    from optimizers import AdamW          # instead of: from torch.optim import AdamW

Each class is its rule with K = 1 and float coefficients, computed once a group and step count.
Param groups, closures, hooks, `state_dict`, deep copies and torch's `LRScheduler`s work as with
torch's own, and a `state_dict` of one can be loaded into the other. Torch's options amsgrad,
foreach, fused, capturable and differentiable are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from optimizers.names import lookup
from optimizers.rule import Rule
from optimizers.rules import RULES


@cache
def _places(rule: Rule) -> dict[str, tuple[str, int | None]]:
    """Where a param group keeps each hyperparameter: beta1 is betas[0], others have their name."""
    return {
        name: ("betas", int(name[4:]) - 1) if name[:4] == "beta" else (name, None)
        for name in rule.hypers
    }


@cache
def _switched(rule: Rule, values: tuple[object, ...]) -> Rule:
    return rule.switched(dict(zip(rule.switches, values, strict=True)))


def _pick(group: Mapping[str, Any], key: str, index: int | None) -> Any:
    return group[key] if index is None else group[key][index]


class RuleOptimizer(Optimizer):
    """A `torch.optim.Optimizer` that a rule drives; `defaults` are torch's param-group keys.

    Raises:
        ValueError: an invalid argument; the message names it, its value and the valid range.
    """

    rule: ClassVar[Rule]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with own values of any argument; they are checked here."""
        self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient.

        Returns what `closure` returns, if given; it is called first, with gradients enabled.

        Raises:
            RuntimeError: a gradient is sparse; nothing of its group is updated then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        rule, hypers = self._rule_of(group), self._hypers_of(group)
        pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
        if any(g.layout is not torch.strided for _, g in pairs):
            name = type(self).__name__
            raise RuntimeError(f"{name} does not support sparse gradients; make them dense first")
        coefficients: dict[int, dict[str, float]] = {}
        for p, g in pairs:
            state = self.state[p]
            if not state:
                state["step"] = 0
                state.update((buffer, torch.zeros_like(p)) for buffer in rule.buffers)
            t = state["step"] = state["step"] + 1
            c = coefficients.get(t)
            if c is None:
                c = coefficients[t] = rule.scalars(hypers, float(t))
            _apply(rule, p, -g if group["maximize"] else g, state, c)

    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        rule = self.rule
        if not rule.switches:
            return rule
        return _switched(rule, tuple([group[switch] for switch in rule.switches]))

    def _hypers_of(self, group: Mapping[str, Any]) -> dict[str, float]:
        places = _places(self.rule).items()
        return {name: float(_pick(group, key, index)) for name, (key, index) in places}

    def _check(self, group: Mapping[str, Any]) -> None:
        places = _places(self.rule)
        values = {name: _pick(group, key, index) for name, (key, index) in places.items()}
        for name, value in values.items():
            if isinstance(value, Tensor) and value.numel() != 1:
                raise ValueError(f"{name} = {value!r} is invalid; a tensor must have one element")

        def argument(name: str) -> str:
            key, index = places[name]
            return key if index is None else f"{key}[{index}]"

        self._rule_of(group).check(values, argument)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            self._refuse_other_meaning(group)
            for key, value in self.defaults.items():
                group.setdefault(key, value)
            for p in group["params"]:
                if p in self.state:
                    self._adopt(p)

    def _refuse_other_meaning(self, group: Mapping[str, Any]) -> None:
        """Torch's own `state_dict` says in its groups which algorithm it belongs to."""
        own = {"amsgrad": False, "decoupled_weight_decay": self.rule.decay == "decoupled"}
        for key, value in own.items():
            if group.get(key, value) != value:
                name = type(self).__name__
                raise ValueError(f"{key} = {group[key]!r} in the loaded state; {name} has {value}")

    def _adopt(self, p: Tensor) -> None:
        """Torch's state as ours: the step a number, and with it 1 where torch's SGD counts none."""
        state = self.state[p]
        if any(state.get(buffer) is None for buffer in self.rule.buffers):
            del self.state[p]
        else:
            state["step"] = int(state.get("step", 1))


def _apply(rule: Rule, p: Tensor, g: Tensor, state: dict[str, Any], c: Mapping[str, float]) -> None:
    """One parameter's update, in place; complex numbers count as pairs of real ones."""
    buffers = {buffer: state[buffer] for buffer in rule.buffers}
    if p.is_complex():
        p, g = torch.view_as_real(p), torch.view_as_real(g)
        buffers = {name: torch.view_as_real(buffer) for name, buffer in buffers.items()}
        new, buffers = rule.update(p, g, buffers, c)
        buffers = {name: torch.view_as_complex(buffer) for name, buffer in buffers.items()}
    else:
        new, buffers = rule.update(p, g, buffers, c)
    p.copy_(new)
    state.update(buffers)


class SGD(RuleOptimizer):
    """Stochastic gradient descent with momentum and L2 weight decay; see `rules.sgd.SgdRule`.

    torch.optim.SGD's arguments. `lr` multiplies the momentum buffer at each step.
    """

    rule = RULES["sgd"]

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)


class SGDW(SGD):
    """SGD with decoupled decay: the weights shrink by `1 - lr * weight_decay` beside the step."""

    rule = RULES["sgdw"]


class Adam(RuleOptimizer):
    """Adam with L2 weight decay; see `rules.adam.AdamRule`. torch.optim.Adam's arguments."""

    rule = RULES["adam"]

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)


class AdamW(Adam):
    """Adam with decoupled decay; see `rules.adam.AdamRule`. torch.optim.AdamW's arguments."""

    rule = RULES["adamw"]

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)


DROP_INS: Mapping[str, type[RuleOptimizer]] = {
    cls.rule.name: cls for cls in (SGD, SGDW, Adam, AdamW)
}
"""The class of every algorithm of `RULES`."""


def build_optimizer(
    name: str,
    params: ParamsT,
    hypers: Mapping[str, float],
    switches: Mapping[str, object] = MappingProxyType({}),
) -> RuleOptimizer:
    """The drop-in of the algorithm `name`; a missing hyperparameter or switch has its default.

    The switch `decay` ("l2" or "decoupled") picks the class that has it: Adam with "decoupled" is
    AdamW, with Adam's own defaults.

    Raises:
        ValueError: an unknown name, hyperparameter or switch, or an invalid value.
    """
    named = lookup(DROP_INS, "optimizer", name)
    arguments: dict[str, Any] = dict(switches)
    cls = _with_decay(named, arguments.pop("decay", named.rule.decay))
    cls.rule.switched(arguments).check(hypers)
    for hyper, (key, index) in _places(cls.rule).items():
        value = hypers.get(hyper, named.rule.hypers[hyper].default)
        arguments[key] = value if index is None else (*arguments.get(key, ()), value)
    build: Callable[..., RuleOptimizer] = cls
    return build(params, **arguments)


def _with_decay(cls: type[RuleOptimizer], decay: object) -> type[RuleOptimizer]:
    """The class of the same algorithm whose weight decay is `decay`."""
    wanted = [
        other
        for other in DROP_INS.values()
        if type(other.rule) is type(cls.rule) and other.rule.decay == decay
    ]
    if not wanted:
        raise ValueError(f"decay = {decay!r} is invalid; it must be one of l2, decoupled")
    return wanted[0]
