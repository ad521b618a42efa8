"""`RuleOptimizer`: a rule with K = 1 as a `torch.optim.Optimizer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import Signature
from operator import is_, itemgetter
from typing import Any, ClassVar, overload

import torch
from torch import Tensor

from optimizers.advance import advance
from optimizers.drop_in.arguments import param_group, pick, places
from optimizers.drop_in.averages import AveragingOptimizer
from optimizers.drop_in.exchange import (
    adopt_group,
    adopt_state,
    name_decoupled_decay,
    restore_precision,
)
from optimizers.drop_in.fused import fused_kernel, kernel_takes
from optimizers.drop_in.pieces import Piece, new_state, pieces_of
from optimizers.rule import Rule

LANE_STATE = "lane_state"
"""Where a param group keeps what a rule that measures knows of the group as a whole."""


@cache
def _switched(rule: Rule, values: tuple[object, ...]) -> Rule:
    return rule.switched(dict(zip(rule.options, values, strict=True)))


@cache
def _reader(rule: Rule) -> Callable[[Mapping[str, Any]], tuple[object, ...]]:
    return itemgetter(*rule.options)


@dataclass
class _Group:
    """What one step of a param group found and the next one takes over, if it still holds."""

    params: list[Tensor]
    states: list[dict[str, Any]]
    home: Mapping[Any, Any]
    uniform: bool
    pieces: dict[int, tuple[list[Tensor], list[Piece]]] = field(default_factory=dict)

    def holds(self, params: list[Tensor], home: Any) -> bool:
        return (
            self.home is home
            and len(self.params) == len(params) <= len(home)
            and all(map(is_, self.params, params))
        )


_Cohort = tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]


class RuleOptimizer(AveragingOptimizer):
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
            RuntimeError: within `averaged`, or a gradient is sparse; nothing is updated then.
        """
        if self._evaluating:
            raise RuntimeError("step() within averaged(): these are not the weights of training")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            self._update(index, group)
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

    def _update(self, index: int, group: dict[str, Any]) -> None:
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
        if not params:
            return
        rule, hypers = self._rule_of(group), self._hypers_of(group)
        found = self._group(index, rule, params)
        if rule.measures:
            self._measured(found, rule, group, hypers, grads)
            return
        kernel = fused_kernel(rule) if found.uniform and contiguous else None
        for place, cohort in enumerate(_cohorts(rule, found, grads)):
            states = cohort[2]
            t = states[0]["step"] + 1
            if kernel is not None:
                kernel(rule, *cohort, hypers, t, group["maximize"])
            else:
                h = {**hypers, **{name: states[0][name] for name in rule.lane_buffers}}
                new = self._pieces(found, place, rule, cohort, h, float(t), group["maximize"])
                for state in states:
                    state.update(new)
            for state in states:
                state["step"] = t

    def _group(self, index: int, rule: Rule, params: list[Tensor]) -> _Group:
        """The group's parameters with their states, which are made at the first gradient."""
        groups: dict[int, _Group] = self.__dict__.setdefault("_groups", {})
        found = groups.get(index)
        if found is None or not found.holds(params, self.state):
            states: list[dict[str, Any]] = []
            for p in params:
                state: dict[str, Any] = self.state[p]
                if "step" not in state:  # a wrapper of another library may have put its own there
                    state.update(new_state(rule, p))
                states.append(state)
            uniform = kernel_takes(params, states)
            found = groups[index] = _Group(list(params), states, self.state, uniform)
        return found

    def _pieces(
        self,
        found: _Group,
        place: int,
        rule: Rule,
        cohort: _Cohort,
        h: Mapping[str, Any],
        t: Any,
        maximize: bool,
    ) -> dict[str, Any]:
        """One update of a cohort by the rule itself; returns the new lane buffers."""
        params, grads, states = cohort
        known, pieces = found.pieces.get(place, ([], []))
        if (
            len(known) != len(params)
            or not all(map(is_, known, params))
            or not all(piece.intact() for piece in pieces)
        ):
            pieces = pieces_of(rule, params, states)
            found.pieces[place] = (params, pieces)
        of = dict(zip(map(id, params), grads, strict=True))
        loaded = (piece.load([of[id(p)] for p in piece.params]) for piece in pieces)
        if maximize:
            loaded = ((p, -g, s) for p, g, s in loaded)
        stepped, lane = advance(rule, loaded, h, t, _floats if rule.measures else _as_they_are)
        for piece, (p, s) in zip(pieces, stepped, strict=True):
            piece.store(p, s)
        return lane

    def _measured(
        self,
        found: _Group,
        rule: Rule,
        group: dict[str, Any],
        hypers: Mapping[str, float],
        grads: list[Tensor],
    ) -> None:
        """A rule that measures: its numbers are tensors [1] on the CPU, kept in the param group."""
        lane = group.get(LANE_STATE)
        if lane is None:
            lane = {name: _lane(value) for name, value in rule.lane_buffers.items()}
            lane["steps"] = _lane(0.0)
        t = lane["steps"] + 1
        h = {name: _lane(value) for name, value in hypers.items()} | lane
        cohort = (found.params, grads, found.states)
        new = self._pieces(found, 0, rule, cohort, h, t, group["maximize"])
        group[LANE_STATE] = {**new, "steps": t}
        for state in found.states:
            state["step"] += 1

    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        return _switched(self.rule, _reader(self.rule)(group))

    def _hypers_of(self, group: Mapping[str, Any]) -> dict[str, float]:
        found = {name: float(value) for name, value in pick(self.rule, group).items()}
        start = float(group.get("initial_lr", found["lr"]))
        found["lr_factor"] = found["lr"] / start if start else 1.0
        return found

    def _check(self, group: Mapping[str, Any]) -> None:
        values, where = pick(self.rule, group), places(self.rule)
        for name, value in values.items():
            if isinstance(value, Tensor) and value.numel() != 1:
                raise ValueError(f"{name} = {value!r} is invalid; a tensor must have one element")

        def argument(name: str) -> str:
            key, index = where[name]
            return key if index is None else f"{key}[{index}]"

        self._rule_of(group).check(values, argument)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            adopt_group(group)
            for key, value in self.defaults.items():
                group.setdefault(key, value)
            rule = self._rule_of(group)
            for p in group["params"]:
                if p in self.state:
                    adopt_state(rule, p, self.state)


def _cohorts(rule: Rule, found: _Group, grads: list[Tensor]) -> Iterator[_Cohort]:
    """The parameters that are at one step, and so share their coefficients; mostly all of them."""
    key = itemgetter("step", *rule.lane_buffers)
    keys = list(map(key, found.states))
    if keys.count(keys[0]) == len(keys):
        yield found.params, grads, found.states
        return
    rows = list(zip(found.params, grads, found.states, strict=True))
    for wanted in dict.fromkeys(keys):
        chosen = [row for row, own in zip(rows, keys, strict=True) if own == wanted]
        yield tuple(map(list, zip(*chosen, strict=True)))  # type: ignore[misc]


def _lane(value: float | tuple[float, ...]) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _floats(c: Mapping[str, Any], _: Tensor) -> Mapping[str, Any]:
    single = (isinstance(value, Tensor) and value.numel() == 1 for value in c.values())
    return {n: float(v) if one else v for (n, v), one in zip(c.items(), single, strict=True)}


def _as_they_are(c: Mapping[str, Any], _: Tensor) -> Mapping[str, Any]:
    return c
