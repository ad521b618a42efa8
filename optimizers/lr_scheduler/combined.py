"""The schedulers made of other schedulers of the same optimizer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from optimizers.lr_scheduler.factor_lr import ClosedLR, rates, set_rate


class SequentialLR(torch_schedulers.SequentialLR):
    """One scheduler after the other; number n + 1 takes over at milestones[n] and begins at t = 0.

    torch's class and arguments. Children may be these schedulers and torch's plain ones, and, which
    torch's cannot begin late, a SequentialLR or ChainedScheduler of this library.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for child in leaves(self):
            # A pickled optimizer has lost torch's note of its steps; a child at its first step
            # would warn that it comes before them.
            child._step_count = max(child._step_count, 2)

    def _initial_step(self) -> None:
        self.last_epoch = 0
        self._schedulers[bisect_right(self._milestones, 0)]._initial_step()
        self._last_lr = rates(self.optimizer)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = epoch or 0
        self._schedulers[bisect_right(self._milestones, 0)]._update_lr(epoch)
        self._last_lr = rates(self.optimizer)


class ChainedScheduler(torch_schedulers.ChainedScheduler):
    """All schedulers at once: lr = initial_lr * the product of each one's lr / initial_lr.

    torch's arguments. torch's chain hands the lr on from child to child, which is the same product
    where each child multiplies the lr. Where one sets it (LambdaLR, CosineAnnealingWarmRestarts,
    OneCycleLR, CyclicLR) torch's forgets the children before; and where one adds to it
    (CosineAnnealingLR with an eta_min, or past T_max) torch's adds to the product. Here it is the
    product always. With only torch's schedulers as children this is torch's chain, while in torch's
    own the schedulers of this library do not multiply.

    Raises:
        ValueError: schedulers of this library and of torch's in one chain.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        super().__init__(schedulers, optimizer)
        closed = {isinstance(leaf, ClosedLR) for leaf in leaves(self)}
        if len(closed) > 1:
            names = ", ".join(type(scheduler).__module__ for scheduler in schedulers)
            raise ValueError(
                f"schedulers = {names} is invalid; in one chain they must all be of "
                "optimizers.lr_scheduler or all of torch.optim.lr_scheduler"
            )
        self._multiplies = closed.pop()
        self._multiply()

    def step(self) -> None:  # type: ignore[override]  # as in torch, without an epoch
        """Step each scheduler."""
        super().step()
        self._multiply()

    def _initial_step(self) -> None:
        for scheduler in self._schedulers:
            scheduler._initial_step()
        self._multiply()

    def _update_lr(self, epoch: int | None = None) -> None:
        for scheduler in self._schedulers:
            scheduler._update_lr(epoch)
        self._multiply()

    def _multiply(self) -> None:
        if self._multiplies:
            found = [scheduler.get_last_lr() for scheduler in self._schedulers]
            for index, group in enumerate(self.optimizer.param_groups):
                first, *others = (float(lrs[index]) for lrs in found)
                initial = float(group["initial_lr"])
                for lr in others:
                    first *= lr / initial if initial else 1.0
                set_rate(group, first)
        self._last_lr = rates(self.optimizer)


def leaves(scheduler: LRScheduler) -> Iterator[LRScheduler]:
    """The schedulers at the ends of a combination, however deep."""
    children = getattr(scheduler, "_schedulers", None)
    if children is None:
        yield scheduler
    for child in children or ():
        yield from leaves(child)
