"""Lookahead over any rule: `lookahead(ADAMW, name="lookahead_adamw", class_name=...)` is a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from optimizers.hyper import Hyper, check_hypers
from optimizers.lane_math import Number, select, where
from optimizers.rule import COMMON_SWITCHES, Rule, State

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Zhang et al. 2019, Lookahead optimizer: k steps forward, 1 step back, arXiv:1907.08610"
# What a rule says of itself: its common switches, and what others have on their class.
_TRAITS = (
    *COMMON_SWITCHES,
    *(name for name, kind in Rule.__annotations__.items() if kind.startswith("ClassVar")),
)

# Defaults: k of the authors' code, alpha of the libraries that came after it (theirs: 0.8). Ranges:
# about the values of the paper's experiments, which find that neither matters much.
K = Hyper(5, 5, 20, "log", integer=True, at_least=1.0)
ALPHA = Hyper(0.5, 0.2, 0.8, below=1.0)


@dataclass(frozen=True, kw_only=True)
class LookaheadRule(Rule):
    """Another rule's weights, pulled back at every k-th update towards where they were before.

        p = the inner rule's whole update of p
        every k updates:  slow = slow + alpha * (p - slow)
                          p = slow

    `slow` is at first the weights before the first update. The inner rule's own state goes on as
    it is. lr, and all switches, are the inner rule's.

    Source: Zhang et al., arXiv:1907.08610, algorithm 1; equals pytorch_optimizer's Lookahead with
    `pullback_momentum="none"`.
    """

    inner: Rule

    def __post_init__(self) -> None:
        for name in (*_TRAITS, *self.inner.switches):
            object.__setattr__(self, name, getattr(self.inner, name))
        object.__setattr__(self, "copies", (*self.inner.copies, "slow"))

    @property
    def buffers(self) -> tuple[str, ...]:
        return (*self.inner.buffers, "slow")

    @property
    def by_weight(self) -> bool:
        return self.inner.by_weight

    def buffer_shape(self, buffer: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if buffer == "slow" else self.inner.buffer_shape(buffer, shape)

    def scalars(self, h: Mapping[str, Number], t: Number) -> dict[str, Number]:
        k, alpha = (h[name] for name in own_hypers(self.inner))
        return {
            **self.inner.scalars(h, t),
            "lookahead_first": t == 1,
            "lookahead_pull": t % k == 0,
            "lookahead_alpha": where(t % k == 0, alpha, 0 * alpha),
        }

    def gradient(self, p: Tensor, g: Tensor, c: Mapping[str, Number]) -> Tensor:
        return self.inner.gradient(p, g, c)

    def measure(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.inner.measure(p, g, s, c)

    def tune(self, h: State, t: Tensor, sums: State) -> dict[str, Tensor]:
        return self.inner.tune(h, t, sums)

    def update(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.update(p, g, s, c)

    def stepped(
        self, p: Tensor, g: Tensor, s: State, c: Mapping[str, Number]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The inner rule's whole update, and at every k-th the pull of both kinds of weights."""
        fast, state = self.inner.stepped(p, g, s, c)
        before = select(c["lookahead_first"], p, s["slow"])
        slow = before.lerp(fast, c["lookahead_alpha"])
        return select(c["lookahead_pull"], slow, fast), {**state, "slow": slow}

    def averaged(self, p: Tensor, s: State, h: Mapping[str, Number]) -> Tensor:
        return self.inner.averaged(p, s, h)

    def switched(self, switches: Mapping[str, object]) -> Self:
        return replace(self, inner=self.inner.switched(switches))

    def check(self, values: Mapping[str, float], argument: Callable[[str], str] = str) -> None:
        check_hypers(self.name, self.hypers, values, argument)
        inner = {name: value for name, value in values.items() if name in self.inner.hypers}
        self.inner.check(inner, argument)


def own_hypers(inner: Rule) -> dict[str, Hyper]:
    """Lookahead's own knobs over this rule, `k` then `alpha`, renamed where the rule has one so."""
    own = {"k": K, "alpha": ALPHA}
    return {f"lookahead_{n}" if n in inner.hypers else n: hyper for n, hyper in own.items()}


def lookahead(inner: Rule, *, name: str, class_name: str) -> LookaheadRule:
    """The rule `name`: Lookahead over `inner`, with its knobs and switches and `k` and `alpha`."""
    return LookaheadRule(
        name=name,
        paper=f"{_PAPER}; over {inner.paper}",
        hypers={**inner.hypers, **own_hypers(inner)},
        class_name=class_name,
        inner=replace(inner, name=name),
    )
