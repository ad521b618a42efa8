"""`LaneOptimizer`: K trials at once, each lane with its own hyperparameters and its own rule.

grad [K, P] -> rule.scalars (float64, [K]) -> rule.update ([K, P]) -> flat [K, P], in place
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan, prod
from typing import Any

import torch
from torch import Tensor

from optimizers.clipping import clip_by_norm, clip_by_value
from optimizers.compiled import can_compile
from optimizers.lane_math import check_lanes
from optimizers.lane_rows import Rows, said
from optimizers.rule import Rule


def cut(flat: Tensor, shapes: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
    """Views [K, *shape] of a buffer [K, P], one a shape, in order.

    Raises:
        ValueError: the shapes do not add up to P.
    """
    sizes = [prod(shape) for shape in shapes]
    if sum(sizes) != flat.shape[1]:
        raise ValueError(f"shapes hold {sum(sizes)} numbers a lane, flat holds {flat.shape[1]}")
    parts = torch.split(flat, sizes, dim=1)
    return tuple(part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True))


class LaneOptimizer:
    """K independent trials on a flat buffer; `rule` is one for all lanes, or one a lane.

    `flat` [K, P] holds all lanes' weights and is updated in place; `params` are its views
    [K, *shape]. `hypers` maps names to [K] values (a missing name: the rule's default; what a
    lane's rule has not: ignored there). They are held in float64, as are the coefficients until
    they meet the weights. `steps` [K] counts the updates of each lane. Nothing crosses lanes: one
    with NaN stays alone. Lanes with equal rules are updated together; with `compile` as one kernel
    where the rule is elementwise (`optimizers.compiled.compilation_pays` tells when that pays).
    `whole`: such a rule holds rows of all lanes, as a program that is made once for all of them
    needs it (`optimizers.lane_tables`); so it does with `compile`.

    Raises:
        ValueError: a hyperparameter that no lane's rule has, an invalid value, or shapes that do
            not add up to P.
    """

    def __init__(
        self,
        rule: Rule | Sequence[Rule],
        flat: Tensor,
        shapes: Sequence[Sequence[int]],
        hypers: Mapping[str, Tensor],
        *,
        compile: bool = False,  # noqa: A002  (torch's word for it)
        whole: bool = False,
    ) -> None:
        lanes = flat.shape[0]
        self._compile, self._whole = compile, whole or compile
        rules = [rule] * lanes if isinstance(rule, Rule) else list(rule)
        if len(rules) != lanes:
            raise ValueError(f"{len(rules)} rules for {lanes} lanes; give one, or one a lane")
        if flat.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"flat is {flat.dtype}; lanes hold float32 or float64 weights")
        self.flat, self.shapes = flat, [tuple(shape) for shape in shapes]
        self.params = cut(flat, shapes)
        self.steps = torch.zeros(lanes, dtype=torch.float64, device=flat.device)
        self.hypers: dict[str, Tensor] = {}
        self.rows = [
            self._rows(own, [lane for lane in range(lanes) if rules[lane] == own])
            for own in dict.fromkeys(rules)
        ]
        columns = self._columns(rules, hypers)
        for lane, own in enumerate(rules):
            chosen = {n: values[lane] for n, values in columns.items() if n in own.hypers}
            own.check(chosen)
            self._set(lane, own, chosen)

    @property
    def rules(self) -> list[Rule]:
        """The rule of each lane."""
        found = {lane: rows.rule for rows in self.rows for lane in rows.own}
        return [found[lane] for lane in range(len(found))]

    @torch.no_grad()
    def step(
        self,
        grad: Tensor,
        lr_factor: Tensor | None = None,
        decay_factor: Tensor | None = None,
        *,
        active: Tensor | None = None,
        clip_norm: Tensor | None = None,
        clip_value: Tensor | None = None,
    ) -> None:
        """One update of every lane, or of the `active` ones (bool [K]); `grad` is [K, P].

        `lr_factor` and `decay_factor` [K] multiply each lane's lr and weight_decay. `clip_value`
        and `clip_norm` [K] bound each number and each lane's norm of the gradient (inf: not).
        """
        if grad.shape != self.flat.shape:
            raise ValueError(f"grad is {list(grad.shape)}, flat is {list(self.flat.shape)}")
        if clip_value is not None:
            grad = clip_by_value(grad, clip_value)
        if clip_norm is not None:
            grad = clip_by_norm(grad, clip_norm)
        factor = torch.ones_like(self.steps) if lr_factor is None else lr_factor
        h = {**self.hypers, "lr": self.hypers["lr"] * factor, "lr_factor": factor}
        if decay_factor is not None:
            h["weight_decay"] = h["weight_decay"] * decay_factor
        steps = self.steps + 1
        for rows in self.rows:
            own = self._index(rows)
            p = _row(self.flat, own)
            chosen = {name: _row(column, own) for name, column in h.items()}
            who = rows.among(None if active is None else _row(active, own))
            new = rows.step(
                p, _row(grad, own), chosen, _row(steps, own), self._cut, who, self._compile
            )
            if own is not None:
                self.flat.index_copy_(0, own, new)
            elif new is not self.flat:
                self.flat.copy_(new)
        self.steps = steps if active is None else steps.where(active, self.steps)

    @torch.no_grad()
    def averaged(self) -> Tensor:
        """The weights to evaluate, [K, P]: `flat`, but for lanes whose rule averages."""
        if not any(rows.rule.averages for rows in self.rows):
            return self.flat
        weights = self.flat.clone()
        for rows in self.rows:
            own = self._index(rows)
            p = _row(self.flat, own)
            h = {name: _row(column, own) for name, column in self.hypers.items()}
            started = rows.among(_row(self.steps, own) > 0)
            assert started is not None
            started = started.unsqueeze(-1)
            new = rows.averaged(p, h, self._cut)
            if own is None:
                weights = new.where(started, weights)
            else:
                weights.index_copy_(0, own, new.where(started, p))
        return weights

    @torch.no_grad()
    def reset(self, lane: int, hypers: Mapping[str, float], rule: Rule | None = None) -> None:
        """Refill a lane: its state as new, its hyperparameters these (missing: the defaults).

        `rule`: another algorithm than the lane had. The caller writes the new trial's initial
        weights into `flat[lane]`.

        Raises:
            ValueError: a hyperparameter that the rule has not, or an invalid value.
        """
        check_lanes([lane], len(self.steps))
        old = next(rows for rows in self.rows if lane in rows.own)
        rule = old.rule if rule is None else rule
        rule.check(hypers)
        if rule == old.rule:
            old.forget(lane)
        else:
            self._move(lane, old, rule)
        self._set(lane, rule, hypers)
        self.steps[lane] = 0

    @torch.no_grad()
    def compact(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes only, in this order; `flat` and `params` are new tensors.

        Raises:
            ValueError: a lane that there is not, or one twice.
        """
        check_lanes(lanes, len(self.steps))
        place = {lane: new for new, lane in enumerate(lanes)}
        kept = []
        for rows in self.rows:
            chosen = sorted(
                (row for row, lane in enumerate(rows.lanes) if lane in place),
                key=lambda row: place[rows.lanes[row]],
            )
            if chosen:
                taken = rows.take(chosen)
                taken.lanes = [place[lane] for lane in taken.lanes]
                taken.own = {place[lane] for lane in rows.own if lane in place}
                if taken.own:
                    kept.append(taken)
        index = torch.tensor(list(lanes), dtype=torch.long, device=self.flat.device)
        self.rows = kept
        self.flat = self.flat.index_select(0, index)
        self.params = cut(self.flat, self.shapes)
        self.steps = self.steps.index_select(0, index)
        self.hypers = {name: values.index_select(0, index) for name, values in self.hypers.items()}

    def part(self) -> None:
        """Hold, of each rule's rows, those of its own lanes only; nothing is compiled any more."""
        if not self._whole:
            return
        self._compile = self._whole = False
        self.rows = [
            rows.take([rows.lanes.index(lane) for lane in sorted(rows.own)], fixed=False)
            for rows in self.rows
            if rows.own
        ]

    def state_dict(self) -> dict[str, Any]:
        """Steps, hyperparameters and state of all lanes, as copies; the weights are `flat`'s."""
        return {
            "steps": self.steps.clone(),
            "hypers": {name: values.clone() for name, values in self.hypers.items()},
            "rows": [rows.state_dict() for rows in self.rows],
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same rules, lanes and shapes.

        Raises:
            ValueError: it is of other rules or lanes.
        """
        saved = {(own["rule"], *own["lanes"]): own for own in state["rows"]}
        here = {(said(rows.rule), *rows.lanes): rows for rows in self.rows}
        if saved.keys() != here.keys():
            raise ValueError(f"rules and lanes in the state: {list(saved)}, here: {list(here)}")
        for key, rows in here.items():
            rows.load_state_dict(saved[key])
        self.steps.copy_(state["steps"])
        self.hypers = {name: values.to(self.steps) for name, values in state["hypers"].items()}

    def _set(self, lane: int, rule: Rule, values: Mapping[str, float]) -> None:
        for name in {*self.hypers, *rule.hypers}:
            if name not in self.hypers:
                self.hypers[name] = torch.full_like(self.steps, nan)
            default = rule.hypers[name].default if name in rule.hypers else nan
            self.hypers[name][lane] = values.get(name, default)

    def _rows(self, rule: Rule, own: Sequence[int]) -> Rows:
        """New rows for lanes of a rule; of all lanes where a kernel is made for one shape."""
        if not (self._whole and can_compile(rule)):
            return Rows(rule, own, self.flat, self.shapes)
        return Rows(rule, range(len(self.steps)), self.flat, self.shapes, own)

    def _move(self, lane: int, old: Rows, rule: Rule) -> None:
        """Take a lane from its rows to those of another rule."""
        rest = [rows for rows in self.rows if rows is not old and rows.rule != rule]
        new = next((rows for rows in self.rows if rows.rule == rule), None)
        if new is None:
            new = self._rows(rule, [lane])
        elif new.fixed:
            new.forget(lane)
            new.own.add(lane)
        else:
            new = new.with_fresh(lane)
        if old.fixed:
            old.own.discard(lane)
        else:
            old = old.take([row for row, own in enumerate(old.lanes) if own != lane])
        kept = [old] if old.own or old.fixed else []
        self.rows = sorted([*rest, *kept, new], key=lambda rows: said(rows.rule))

    def _columns(
        self, rules: Sequence[Rule], hypers: Mapping[str, Tensor]
    ) -> dict[str, list[float]]:
        known = {name for rule in rules for name in rule.hypers}
        for name, column in hypers.items():
            if name not in known:
                rules[0].check({name: nan})
            if column.shape != self.steps.shape:
                text = f"{name} has the shape {list(column.shape)}"
                raise ValueError(f"{text}; it must have a number a lane, [{len(self.steps)}]")
        return {name: column.tolist() for name, column in hypers.items()}

    def _index(self, rows: Rows) -> Tensor | None:
        """The rows' places in the buffer; None where they are all of it, in order."""
        return None if rows.lanes == list(range(len(self.steps))) else rows.index

    def _cut(self, rows: Tensor) -> tuple[Tensor, ...]:
        return cut(rows, self.shapes)


def _row(x: Tensor, index: Tensor | None) -> Tensor:
    return x if index is None else x.index_select(0, index)
