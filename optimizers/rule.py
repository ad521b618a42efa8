"""The contract of an algorithm: its numbers (`Hyper`) and its pure update (`Rule`).

A rule is written once and driven twice: by `optimizers.lanes` over K lanes, where every number is a
tensor [K], and by `optimizers.drop_in` with K = 1, where every number is a Python float. So a rule
uses on numbers only what floats and tensors share (arithmetic, powers, comparisons) and the helpers
of `optimizers.lane_math`.

    c = scalars(h, t)                      numbers only, once a step
    g = gradient(p, g, c)                  centralization, L2 decay
    s, sums = measure(p, g, s, c)          } rules that measure the whole lane only
    c = c + tune(h, t, sums)               }
    p, s = update(shrunk(p, c), g, s, c)   decoupled decay, then the step
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from optimizers.hyper import Hyper, check_choice, check_hypers
from optimizers.lane_math import Number, is_zero, multiply_add, tensor_mean

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]

DECAYS = ("l2", "decoupled", "independent")

COMMON_SWITCHES: Mapping[str, tuple[object, ...]] = {
    "decay": DECAYS,
    "cautious": (False, True),
    "centralize": (False, True),
}


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """An optimization algorithm as pure functions.

    A subclass is a frozen dataclass whose extra fields are its static switches (named in `switches`
    with their allowed values, the default first): two equal rules may share one update.

    Its state, beside the count of updates: `buffers` are tensors shaped like the parameter (or as
    `buffer_shape` has it) that start at zero; `lane_buffers` are numbers, with their first values
    (a tuple: a window of so many numbers). The driver puts the latter into `h`; `scalars` or `tune`
    returns their new values under their names.

    A rule with `shaped` needs each weight's own shape (norms, matrices): its tensors are then
    [K, *shape]. One with `measures` sums over the whole lane before it steps, and sees [K, n].

    Switches of every rule: `decay` ("l2" adds `weight_decay * p` to the gradient, "decoupled"
    multiplies the weights by `1 - lr * weight_decay` beside the step, "independent" by
    `1 - lr_factor * weight_decay`, where `lr_factor` is what the schedule has made of lr);
    `cautious` drops the part of the step that goes against the gradient (Liang et al.,
    arXiv:2411.16085, algorithm 1: mask * size / (kept + 1)); `centralize` takes the mean of each
    output unit's weights out of the gradient (Yong et al., arXiv:2004.01461, eq. 1).
    """

    name: str
    paper: str = field(compare=False)
    hypers: Mapping[str, Hyper] = field(compare=False)
    class_name: str = field(compare=False)
    decay: str = "l2"
    cautious: bool = False
    centralize: bool = False

    switches: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    lane_buffers: ClassVar[Mapping[str, float | tuple[float, ...]]] = {}
    shaped: ClassVar[bool] = False
    measures: ClassVar[bool] = False
    free: ClassVar[Mapping[str, bool]] = {}
    """No argument of a rule is passed on unseen; of a `HandOver`'s some are."""
    torch_twin: ClassVar[bool] = True
    """False where torch.optim's class of this name, if there is one, can do less."""
    averages: ClassVar[bool] = False
    copies: ClassVar[tuple[str, ...]] = ()
    """Buffers that hold the weight itself, as it was before its first update."""
    scheduled: ClassVar[tuple[str, ...]] = ("lr",)
    """The knobs that a learning-rate schedule multiplies."""
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    """Constructor arguments of the drop-in that hold several knobs, as in torch."""
    nones: ClassVar[tuple[str, ...]] = ()
    """Knobs whose 0 is None in torch's constructor."""
    positional: ClassVar[tuple[str, ...]] = ()
    """torch's positional arguments, where they are not the knobs and then the switches."""
    names_decoupled: ClassVar[bool] = False
    """Does torch's class call the switch `decay` `decoupled_weight_decay`?"""

    @property
    @abstractmethod
    def buffers(self) -> tuple[str, ...]:
        """Names of the state tensors; mostly a class attribute."""

    def buffer_shape(self, buffer: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one lane's `buffer` for a weight of this shape."""
        del buffer
        return shape

    @abstractmethod
    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        """The coefficients of one update, hoisted out of the elementwise body.

        `h`: hyperparameters (lanes: [K] float64), `lr_factor` and the lane buffers. `t`: the
        update's number, 1 at the first.
        """

    def measure(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(new state, sums [K] of this part of the lane); the driver adds the sums of all parts."""
        raise NotImplementedError

    def tune(self, h: State, t: Tensor, sums: State) -> dict[str, Tensor]:
        """More coefficients, of the whole lane's `sums`; every number is a float64 tensor [K]."""
        raise NotImplementedError

    @abstractmethod
    def update(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(parameter, gradient, state, coefficients) -> (new parameter, new state).

        Lanes: `p`, `g` and each `s` are [K, P] (or [K, *shape]), each `c` is [K, 1] (or as many
        axes). Drop-in: floats for `c`, tensors of one shape, or with a lane axis of one where the
        rule is `shaped` or `measures`. The inputs are left as they are.
        """

    def averaged(self, p: Tensor, s: State, h: Mapping[str, Number]) -> Tensor:
        """The weights to evaluate; others than `p` where the rule `averages`."""
        del s, h
        return p

    @property
    def by_weight(self) -> bool:
        """Must each weight come by itself, with a lane axis and its own shape?"""
        return self.shaped or self.cautious or self.centralize

    def decay_scalars(self, h: Mapping[str, Number], lr: Number | None = None) -> dict[str, Number]:
        """The coefficients of weight decay; `lr`: the step size, where it is not h["lr"]."""
        if self.decay == "decoupled":
            return {"keep": 1 - (h["lr"] if lr is None else lr) * h["weight_decay"]}
        if self.decay == "independent":
            return {"keep": 1 - h["lr_factor"] * h["weight_decay"]}
        return {"weight_decay": h["weight_decay"]}

    def gradient(self, p: Tensor, g: Tensor, c: Mapping[str, Number]) -> Tensor:
        """The gradient that the rule sees: centralized, with the L2 penalty's part."""
        g = self.centralized(g)
        if self.decay != "l2" or is_zero(c["weight_decay"]):
            return g
        return multiply_add(g, p, c["weight_decay"])

    def centralized(self, g: Tensor) -> Tensor:
        """The gradient less each output unit's mean, where `centralize` asks for it."""
        if self.centralize and g.dim() > 2:
            return g - g.mean(dim=tuple(range(2, g.dim())), keepdim=True)
        return g

    def shrunk(self, p: Tensor, c: Mapping[str, Number]) -> Tensor:
        """The weights after decoupled or independent decay, before the step."""
        return p if self.decay == "l2" or is_zero(1 - c["keep"]) else p * c["keep"]

    def stepped(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole update after `gradient`: decay, `update`, and the cautious mask."""
        p = self.shrunk(p, c)
        new, s = self.update(p, g, s, c)
        if self.cautious:
            step = new - p
            kept = (step * g < 0).to(p.dtype)
            mean = tensor_mean(kept)
            size = p[0].numel()
            new = p + step * kept / (mean + 1 / size)
        return new, s

    @property
    def options(self) -> Mapping[str, tuple[object, ...]]:
        """Every static switch and its allowed values: the algorithm's own, then the common.

        A rule with averages of its own weights is not `cautious`: they would be of other steps
        than those that are made.
        """
        found = {**self.switches, **COMMON_SWITCHES}
        if self.averages:
            del found["cautious"]
        return found

    def switched(self, switches: Mapping[str, object]) -> Self:
        """This rule with other static switches.

        Raises:
            ValueError: a switch that the rule has not, or a value that it does not allow.
        """
        for switch, value in switches.items():
            allowed = self.options.get(switch)
            if allowed is None:
                known = ", ".join(self.options)
                raise ValueError(f"{self.name} has no switch '{switch}'. Known: {known}")
            check_choice(switch, value, allowed)
        values: dict[str, Any] = dict(switches)
        return replace(self, **values)

    def check(self, values: Mapping[str, float], argument: Callable[[str], str] = str) -> None:
        """Refuse invalid hyperparameters of one trial; `argument` names them as the caller does.

        Raises:
            ValueError: names the argument, its value and the valid range.
        """
        check_hypers(self.name, self.hypers, values, argument)
