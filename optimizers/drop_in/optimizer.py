"""`RuleOptimizer`: a rule with K = 1 as a `torch.optim.Optimizer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from inspect import Signature
from operator import itemgetter
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from optimizers.advance import advance
from optimizers.drop_in.arguments import check_group, param_group, pick
from optimizers.drop_in.exchange import (
    adopt_group,
    adopt_state,
    name_decoupled_decay,
    restore_precision,
)
from optimizers.drop_in.flattening import FlatteningOptimizer
from optimizers.drop_in.fused import fused_kernel
from optimizers.drop_in.pieces import LOW
from optimizers.rule import Rule

LANE_STATE = "lane_state"
"""Where a param group keeps what a rule that measures knows of the group as a whole."""
_RATES = ("peak_lr", "initial_lr", "max_lr")
"""The lr that a group was made with, and what schedulers keep: the largest has the factor 1."""


@cache
def _switched(rule: Rule, values: tuple[object, ...]) -> Rule:
    return rule.switched(dict(zip(rule.options, values, strict=True)))


@cache
def _reader(rule: Rule) -> Callable[[Mapping[str, Any]], tuple[object, ...]]:
    return itemgetter(*rule.options)


_Cohort = tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]


class RuleOptimizer(FlatteningOptimizer):
    """A `torch.optim.Optimizer` that a rule drives, with torch's names and arguments.

    Param groups, closures, hooks, `state_dict`, deep copies and torch's `LRScheduler`s work as with
    torch's own. `foreach` and `fused` are accepted and change nothing: the fastest way that gives
    this algorithm is always taken. `capturable` and `differentiable` are refused. Weights in
    bfloat16 or float16 have float32 state. A rule that measures its weights as a whole (YellowFin,
    Prodigy) measures each param group by itself.

    Raises:
        ValueError: an invalid argument; the message names it, its value and the valid range.
    """

    __signature__: ClassVar[Signature]

    def __init__(self, params: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(params, param_group(self.rule, params, args, kwargs))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with own values of any argument; they are checked here."""
        adopt_group(param_group)
        check_group(self.rule, {**self.defaults, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("peak_lr", float(group["lr"]))

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient.

        Returns what `closure` returns, if given; it is called first, with gradients enabled.

        Raises:
            RuntimeError: within `averaged`, or a gradient is sparse; nothing is updated then.
        """
        if self._evaluating:
            raise RuntimeError("step() within averaged(): these are not the weights of training")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update_all()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state, its keys and names as in torch's class where it has this algorithm."""
        saved = super().state_dict()
        name_decoupled_decay(self.rule, saved)
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict` of this class or torch's; its options win over those here."""
        seen: list[dict[str, Any]] = []
        handle = self.register_load_state_dict_pre_hook(lambda _, saved: seen.append(saved))
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        restore_precision(self, seen[0])

    @_disable_dynamo  # in a compiled training step this is a call, as torch's fused ones are
    def _update_all(self) -> None:
        groups = list(enumerate(self.param_groups))
        gathered = {index: self._flat_gradient(index, group) for index, group in groups}
        found = {i: self._with_gradients(group) for i, group in groups if gathered[i] is None}
        for index, group in groups:
            flat = gathered[index]
            if flat is not None:
                flat[0].step(flat[1], self._hypers_of(group), group["maximize"])
            elif found[index][0]:
                self._update(index, group, *found[index])

    def _with_gradients(self, group: Mapping[str, Any]) -> tuple[list[Tensor], list[Tensor], bool]:
        """The weights that have gradients, these, and whether they are contiguous."""
        params: list[Tensor] = group["params"]
        grads: list[Any] = [p.grad for p in params]
        try:
            contiguous = all(map(Tensor.is_contiguous, grads))
        except TypeError:  # a parameter has no gradient
            params = [p for p, g in zip(params, grads, strict=True) if g is not None]
            grads = [g for g in grads if g is not None]
            contiguous = all(map(Tensor.is_contiguous, grads))
        if not contiguous and any(g.layout is not torch.strided for g in grads):
            name = type(self).__name__
            raise RuntimeError(f"{name} does not support sparse gradients; make them dense first")
        return params, grads, contiguous

    def _update(
        self,
        index: int,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        contiguous: bool,
    ) -> None:
        rule, hypers = self._rule_of(group), self._hypers_of(group)
        if not contiguous:
            pairs = zip(params, grads, strict=True)
            grads = [g.contiguous() if p.is_contiguous() else g for p, g in pairs]
        cohort = (params, grads, self._states_of(rule, params))
        if rule.measures:
            self._measured(index, rule, group, hypers, cohort)
            return
        kernel = fused_kernel(rule)
        fits = kernel is not None and contiguous and self._work(index).fits(rule, params, cohort[2])
        for place, part in enumerate(_cohorts(rule, cohort)):
            states = part[2]
            t = states[0]["step"] + 1
            if kernel is not None and fits:
                kernel(rule, *part, hypers, t, group["maximize"])
            else:
                h = {**hypers, **{name: states[0][name] for name in rule.lane_buffers}}
                new = self._advance(index, place, rule, part, h, float(t), group["maximize"])
                for state in states:
                    state.update(new)
            for state in states:
                state["step"] = t

    def _advance(
        self,
        index: int,
        place: int,
        rule: Rule,
        cohort: _Cohort,
        h: Mapping[str, Any],
        t: Any,
        maximize: bool,
    ) -> dict[str, Any]:
        """One update of a cohort by the rule itself; returns the new lane buffers."""
        params, grads, states = cohort
        pieces = self._work(index).pieces_of(place, rule, params, states)
        of = dict(zip(map(id, params), grads, strict=True))
        loaded = (piece.load([of[id(p)] for p in piece.params]) for piece in pieces)
        loaded = ((_wide(p), _wide(-g if maximize else g), s) for p, g, s in loaded)
        stepped, lane = advance(rule, loaded, h, t, _floats if rule.measures else _as_they_are)
        for piece, (p, s) in zip(pieces, stepped, strict=True):
            piece.store(p, s)
        return lane

    def _measured(
        self,
        index: int,
        rule: Rule,
        group: dict[str, Any],
        hypers: Mapping[str, float],
        cohort: _Cohort,
    ) -> None:
        """A rule that measures: its numbers are tensors [1] on the CPU, kept in the param group."""
        lane = group.get(LANE_STATE)
        if lane is None:
            lane = {name: _lane(value) for name, value in rule.lane_buffers.items()}
            lane["steps"] = _lane(0.0)
        t = lane["steps"] + 1
        h = {name: _lane(value) for name, value in hypers.items()} | lane
        new = self._advance(index, 0, rule, cohort, h, t, group["maximize"])
        group[LANE_STATE] = {**new, "steps": t}
        for state in cohort[2]:
            state["step"] += 1

    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        return _switched(self.rule, _reader(self.rule)(group))

    def _hypers_of(self, group: Mapping[str, Any]) -> dict[str, float]:
        found = {name: float(value) for name, value in pick(self.rule, group).items()}
        top = max(float(group.get(name, 0.0)) for name in _RATES)
        found["lr_factor"] = found["lr"] / top if top else 1.0
        return found

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            adopt_group(group)
            for key, value in self.defaults.items():
                group.setdefault(key, value)
            group.setdefault("peak_lr", float(group["lr"]))
            rule = self._rule_of(group)
            for p in group["params"]:
                if p in self.state:
                    adopt_state(rule, p, self.state)


def _cohorts(rule: Rule, whole: _Cohort) -> Iterator[_Cohort]:
    """The parameters that are at one step, and so share their coefficients; mostly all of them."""
    key = itemgetter("step", *rule.lane_buffers)
    keys = list(map(key, whole[2]))
    if keys.count(keys[0]) == len(keys):
        yield whole
        return
    params, grads, states = whole
    for wanted in dict.fromkeys(keys):
        own = [place for place, found in enumerate(keys) if found == wanted]
        yield [params[i] for i in own], [grads[i] for i in own], [states[i] for i in own]


def _wide(x: Tensor) -> Tensor:
    """The numbers as the rule computes with them: float32 where they are in fewer bits."""
    return x.float() if x.dtype in LOW else x


def _lane(value: float | tuple[float, ...]) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _floats(c: Mapping[str, Any], _: Tensor) -> Mapping[str, Any]:
    single = (isinstance(value, Tensor) and value.numel() == 1 for value in c.values())
    return {n: float(v) if one else v for (n, v), one in zip(c.items(), single, strict=True)}


def _as_they_are(c: Mapping[str, Any], _: Tensor) -> Mapping[str, Any]:
    return c
