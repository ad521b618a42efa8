"""The schedulers that only let the learning rate down (or up), by a factor of the step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor
from torch.optim.optimizer import Optimizer

from optimizers.hyper import Hyper
from optimizers.lr_scheduler.factor_lr import FactorLR, whole
from optimizers.schedules import SCHEDULES
from optimizers.schedules.constant import HELD
from optimizers.schedules.multistep import MULTISTEP, MultiStep

_PART = Hyper(1.0, 0.0, 1.0)


class StepLR(FactorLR):
    """lr = base_lr * gamma ^ floor(t / step_size). torch's arguments."""

    schedule = SCHEDULES["step"]

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        whole("step_size", step_size)
        self.schedule.check({"gamma": gamma})
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.step_size, {"step_fraction": 1.0, "gamma": self.gamma}


class MultiStepLR(FactorLR):
    """lr = base_lr * gamma ^ (number of milestones <= t). torch's arguments."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        for milestone in self.milestones:
            whole("milestones", milestone, at_least=0)
        MULTISTEP.check({"gamma": gamma})
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    @property
    def schedule(self) -> MultiStep:  # type: ignore[override]
        """The schedule with a cut for each milestone."""
        cuts = tuple(f"cut_{n}" for n in range(self.milestones.total()))
        hypers = {**dict.fromkeys(cuts, _PART), "gamma": MULTISTEP.hypers["gamma"]}
        return replace(MULTISTEP, cuts=cuts, hypers=hypers)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        cuts = zip(self.schedule.cuts, self.milestones.elements(), strict=True)
        return 1, {**dict(cuts), "gamma": self.gamma}


class ConstantLR(FactorLR):
    """lr = base_lr * factor while t < total_iters, then base_lr. torch's arguments."""

    schedule = HELD

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        _between("factor", factor)
        whole("total_iters", total_iters)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.total_iters, {"factor": self.factor, "held_fraction": 1.0}


class LinearLR(FactorLR):
    """lr = base_lr * (start_factor + (end_factor - start_factor) * min(1, t / total_iters)).

    torch's arguments.
    """

    schedule = SCHEDULES["linear"]

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor = {start_factor!r} is invalid; it must lie in (0, 1]")
        _between("end_factor", end_factor)
        whole("total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        factors = {"start_factor": self.start_factor, "final_factor": self.end_factor}
        return self.total_iters, factors


class ExponentialLR(FactorLR):
    """lr = base_lr * gamma ^ t. torch's arguments."""

    schedule = SCHEDULES["exponential"]

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        if not gamma >= 0:
            raise ValueError(f"gamma = {gamma!r} is invalid; it must lie in [0, inf)")
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return 1, {"final_factor": self.gamma}


class PolynomialLR(FactorLR):
    """lr = base_lr * (1 - min(1, t / total_iters)) ^ power. torch's arguments."""

    schedule = SCHEDULES["polynomial"]

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        whole("total_iters", total_iters)
        self.schedule.check({"power": power})
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.total_iters, {"power": self.power}


class CosineAnnealingLR(FactorLR):
    """lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2. torch's arguments."""

    schedule = SCHEDULES["cosine"]

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,  # noqa: N803  (torch's name)
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        whole("T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return self.T_max, {}

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the present step."""
        factor = self.row(self.last_epoch)[0]
        return [self.eta_min + (base - self.eta_min) * factor for base in self.bases()]


class WSDLR(FactorLR):
    """Warmup, stable stretch and decay, each in steps; lr = base_lr * wsd(t).

    The lr rises as base_lr * (t + 1) / warmup_steps, stays, and in the last `decay_steps` falls as
    1 - (1 - final_factor) * sqrt(part of the decay done). Source: arXiv:2404.06395, section 4.2;
    arXiv:2405.18392, section 3.
    """

    schedule = SCHEDULES["wsd"]

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        stable_steps: int,
        decay_steps: int,
        final_factor: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        whole("warmup_steps", warmup_steps, at_least=0)
        whole("stable_steps", stable_steps, at_least=0)
        whole("decay_steps", decay_steps)
        _between("final_factor", final_factor)
        self.warmup_steps = warmup_steps
        self.stable_steps = stable_steps
        self.decay_steps = decay_steps
        self.final_factor = final_factor
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        total = self.warmup_steps + self.stable_steps + self.decay_steps
        return total, {
            "warmup_fraction": self.warmup_steps / total,
            "decay_fraction": self.decay_steps / total,
            "final_factor": self.final_factor,
        }


class InverseSquareRootLR(FactorLR):
    """lr = base_lr / sqrt(1 + (t - warmup_steps) / timescale), after a linear warmup.

    `timescale` is by default as long as the warmup, which makes it sqrt(warmup_steps / t). Source:
    Vaswani et al., arXiv:1706.03762, eq. 3.
    """

    schedule = SCHEDULES["inverse_sqrt"]

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        timescale: float | None = None,
        last_epoch: int = -1,
    ) -> None:
        whole("warmup_steps", warmup_steps, at_least=0)
        self.warmup_steps = warmup_steps
        self.timescale = warmup_steps if timescale is None else timescale
        if not self.timescale > 0:
            raise ValueError(
                f"timescale = {self.timescale!r} is invalid; it must lie in (0, inf). Without a "
                "warmup it has to be given"
            )
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return 1, {"warmup_fraction": self.warmup_steps, "timescale_fraction": self.timescale}


class InvScalingLR(FactorLR):
    """lr = base_lr / (t + 1) ^ power_t. Source: scikit-learn's learning_rate="invscaling"."""

    schedule = SCHEDULES["invscaling"]

    def __init__(self, optimizer: Optimizer, power_t: float = 0.5, last_epoch: int = -1) -> None:
        self.schedule.check({"power_t": power_t})
        self.power_t = power_t
        super().__init__(optimizer, last_epoch)

    def horizon(self) -> tuple[float, Mapping[str, float]]:
        return 1, {"timescale_fraction": 1.0, "power_t": self.power_t}


def _between(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} = {value!r} is invalid; it must lie in [0, 1]")
