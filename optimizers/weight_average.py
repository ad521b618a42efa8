"""`WeightAverage` of a model, `LaneAverages` of K trials, by the kinds of `optimizers.averaging`.

average = WeightAverage(model, "swa", total_steps=1000)
for batch in batches:
    ...
    optimizer.step()
    average.update()
average.update_bn(loader)                 # where the model has BatchNorm
with average.applied():
    evaluate(model)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import swa_utils

from optimizers.averaging import AVERAGES, Average
from optimizers.lane_math import check_lanes
from optimizers.names import lookup
from optimizers.swap import swapped

_LOW = (torch.bfloat16, torch.float16)


class WeightAverage:
    """An average of a model's parameters: `kind` is a name of `AVERAGES` or an `Average`.

    `total_steps` is how many times `update` will be called; `hypers` are the average's knobs, with
    its defaults. Averages of bfloat16 and float16 weights are kept in float32. `steps` counts the
    updates, `averaged` the weights taken so far.

    Raises:
        ValueError: an unknown kind or knob, or an invalid value.
    """

    def __init__(
        self, model: nn.Module, kind: str | Average, total_steps: int, **hypers: float
    ) -> None:
        self.kind = kind if isinstance(kind, Average) else lookup(AVERAGES, "average", kind)
        self.kind.check(hypers)
        if total_steps < 1:
            raise ValueError(f"total_steps = {total_steps!r} is invalid; it must be 1 or more")
        self.hypers = {n: float(hypers.get(n, h.default)) for n, h in self.kind.hypers.items()}
        self.total_steps, self.steps, self.averaged = total_steps, 0, 0
        self._model = model
        self._params = dict(model.named_parameters())
        self._average: dict[str, Tensor] = {
            name: p.detach().to(torch.float32 if p.dtype in _LOW else p.dtype, copy=True)
            for name, p in self._params.items()
        }
        self._statistics: dict[str, Tensor] = {}
        self._own: dict[str, Tensor] | None = None

    @property
    def average(self) -> dict[str, Tensor]:
        """The averages by parameter name; the parameters themselves while nothing is averaged."""
        if not self.averaged:
            return {name: p.detach() for name, p in self._params.items()}
        return dict(self._average)

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's weights, where the average has them; call it after each step.

        Raises:
            RuntimeError: within `applied`.
        """
        if self._own is not None:
            raise RuntimeError("update() within applied(): these are not the weights of training")
        self.steps += 1
        numbers = torch.tensor([self.steps, self.total_steps, self.averaged], dtype=torch.float64)
        t, total, n = numbers.unbind()
        h = {name: torch.tensor(x, dtype=torch.float64) for name, x in self.hypers.items()}
        share = float(self.kind.weight(t, total, n, h))
        if not share:
            return
        for name, p in self._params.items():
            kept = self._average[name]
            if share == 1:
                kept.copy_(p)
            else:
                kept.lerp_(p.detach().to(kept.dtype), share)
        self.averaged += 1
        self._statistics = {}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within: the model has the averaged weights; afterwards its own again, bit for bit.

        With them come the BatchNorm statistics of `update_bn`, if they are of this very average;
        afterwards the model's own are back, whatever happened to them within. Nothing happens while
        nothing is averaged, nor in a second `applied` within.
        """
        if not self.averaged or self._own is not None:
            yield
            return
        statistics = self._batch_statistics()
        self._own = {name: x.clone() for name, x in statistics.items()}
        try:
            with swapped(list(self._params.values()), list(self._average.values())):
                _copy(statistics, self._statistics)
                yield
        finally:
            _copy(statistics, self._own)
            self._own = None

    def update_bn(self, loader: Iterable[Any], device: torch.device | str | None = None) -> None:
        """Recompute the BatchNorm statistics of the averaged weights over `loader`.

        They hold within `applied`, until `update` changes the average. Batches and `device` are as
        in torch.optim.swa_utils.update_bn, which does it. Nothing happens while nothing is averaged
        or if the model has no BatchNorm.
        """
        norms = [module for module in self._model.modules() if isinstance(module, _BatchNorm)]
        if not self.averaged or not norms:
            return
        momenta = [module.momentum for module in norms]
        modes = {module: module.training for module in self._model.modules()}
        with self.applied():
            try:
                swa_utils.update_bn(
                    loader, self._model, None if device is None else torch.device(device)
                )
                found = self._batch_statistics()
                self._statistics = {name: x.clone() for name, x in found.items()}
            finally:
                for module, momentum in zip(norms, momenta, strict=True):
                    module.momentum = momentum
                for each, training in modes.items():
                    each.training = training

    def state_dict(self) -> dict[str, Any]:
        """The average, its counts, knobs and BatchNorm statistics, as copies."""
        return {
            "kind": self.kind.name,
            "hypers": dict(self.hypers),
            "total_steps": self.total_steps,
            "steps": self.steps,
            "averaged": self.averaged,
            "average": {name: x.clone() for name, x in self._average.items()},
            "statistics": {name: x.clone() for name, x in self._statistics.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same kind and model.

        Raises:
            ValueError: it is of another kind, or of a model with other parameters.
        """
        if state["kind"] != self.kind.name:
            raise ValueError(
                f"kind = {state['kind']!r} in the loaded state, here it is {self.kind.name!r}"
            )
        if state["average"].keys() != self._average.keys():
            raise ValueError("the loaded state is of a model with other parameters")
        self.hypers = dict(state["hypers"])
        self.total_steps, self.steps = state["total_steps"], state["steps"]
        self.averaged = state["averaged"]
        _copy(self._average, state["average"])
        self._statistics = {name: x.clone() for name, x in state["statistics"].items()}

    def _batch_statistics(self) -> dict[str, Tensor]:
        return {
            f"{prefix}.{name}": buffer
            for prefix, module in self._model.named_modules()
            if isinstance(module, _BatchNorm)
            for name, buffer in module.named_buffers(recurse=False)
        }


class LaneAverages:
    """The averages of K lanes: `kinds` has one a lane, None where a lane has none.

    `flat` [K, P] gives the shape; `total` [K] counts each trial's updates; `hypers` maps names to
    [K] values (a missing name: the defaults; what a lane's average has not: ignored there). Nothing
    crosses lanes.

    Raises:
        ValueError: an invalid value of a knob.
    """

    _STATE = ("average", "total", "steps", "averaged")

    def __init__(
        self,
        kinds: Sequence[Average | None],
        flat: Tensor,
        total: Tensor,
        hypers: Mapping[str, Tensor],
    ) -> None:
        self.kinds = list(kinds)
        if len(self.kinds) != flat.shape[0]:
            raise ValueError(f"{len(self.kinds)} kinds for {flat.shape[0]} lanes; give one a lane")
        self.average = torch.zeros_like(flat)
        self.total = total.to(flat.device, torch.float64, copy=True)
        self.steps = torch.zeros_like(self.total)
        self.averaged = torch.zeros_like(self.total)
        self.hypers: dict[str, Tensor] = {}
        known = {name for kind in self.kinds if kind for name in kind.hypers}
        for name in hypers:
            if name not in known:
                text = f"no average of these lanes has a knob '{name}'"
                raise ValueError(f"{text}. Known: {', '.join(sorted(known)) or 'none'}")
        columns = {name: values.tolist() for name, values in hypers.items()}
        for lane, kind in enumerate(self.kinds):
            names = kind.hypers if kind else {}
            self._set(lane, {n: values[lane] for n, values in columns.items() if n in names})

    @torch.no_grad()
    def update(self, flat: Tensor, active: Tensor | None = None) -> None:
        """Take the lanes' weights [K, P] after an update of all, or of the `active` ones [K]."""
        steps = self.steps + 1
        share = torch.zeros_like(steps)
        for kind in {kind for kind in self.kinds if kind is not None}:
            own = _lanes_of(kind, tuple(self.kinds), flat.device)
            share = kind.weight(steps, self.total, self.averaged, self.hypers).where(own, share)
        if active is not None:
            share = share * active
            steps = steps.where(active, self.steps)
        self.steps = steps
        self.averaged = self.averaged + (share > 0)
        part = share.to(flat.dtype).unsqueeze(-1)
        self.average = self.average.lerp(flat, part).where(part > 0, self.average)

    def weights(self, flat: Tensor) -> Tensor:
        """The weights to evaluate, [K, P]: the averages, `flat` where nothing is averaged yet."""
        return self.average.where(self.averaged.unsqueeze(-1) > 0, flat)

    @torch.no_grad()
    def reset(
        self, lane: int, kind: Average | None, total: float, hypers: Mapping[str, float]
    ) -> None:
        """Refill a lane: nothing averaged, its knobs these (missing: the defaults)."""
        if kind is not None:
            kind.check(hypers)
        self.kinds[lane] = kind
        self._set(lane, hypers)
        self.total[lane] = total
        for state in (self.average, self.steps, self.averaged):
            state[lane] = 0

    @torch.no_grad()
    def compact(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes only, in this order."""
        check_lanes(lanes, len(self.kinds))
        index = torch.tensor(list(lanes), dtype=torch.long, device=self.total.device)
        self.kinds = [self.kinds[lane] for lane in lanes]
        self.average, self.total = self.average[index], self.total[index]
        self.steps, self.averaged = self.steps[index], self.averaged[index]
        self.hypers = {name: values[index] for name, values in self.hypers.items()}

    def state_dict(self) -> dict[str, Any]:
        """The averages, counts and knobs of all lanes, as copies."""
        own: dict[str, Any] = {name: getattr(self, name).clone() for name in self._STATE}
        own["kinds"] = [kind.name if kind else None for kind in self.kinds]
        return {**own, "hypers": {name: values.clone() for name, values in self.hypers.items()}}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same kinds and shapes."""
        here = [kind.name if kind else None for kind in self.kinds]
        if state["kinds"] != here:
            raise ValueError(f"kinds = {state['kinds']!r} in the loaded state, here {here!r}")
        for name in self._STATE:
            getattr(self, name).copy_(state[name])
        _copy(self.hypers, state["hypers"])

    def _set(self, lane: int, values: Mapping[str, float]) -> None:
        kind = self.kinds[lane]
        if kind is not None:
            kind.check(values)
        known = kind.hypers if kind else {}
        for name in {*self.hypers, *known}:
            if name not in self.hypers:
                self.hypers[name] = torch.full_like(self.total, nan)
            default = known[name].default if name in known else nan
            self.hypers[name][lane] = values.get(name, default)


@lru_cache(maxsize=256)
def _lanes_of(kind: Average, kinds: tuple[Average | None, ...], device: torch.device) -> Tensor:
    """Return which of `kinds` this is, bool [K], once: bringing it to a GPU waits for the GPU."""
    return torch.tensor([kind == each for each in kinds], device=device)


@torch.no_grad()
def _copy(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        targets[name].copy_(value)
