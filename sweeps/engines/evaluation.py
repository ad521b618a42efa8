"""Evaluating averages of the weights: those that an optimizer keeps itself, and `average:`'s.

The batches are the training set's, shuffled and of the training's size: BatchNorm's statistics of
an average are means over batches, so they must not be sorted, nor some smaller than others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import update_bn

from optimizers import AVERAGES, WeightAverage
from optimizers.drop_in import RuleOptimizer

if TYPE_CHECKING:
    from sweeps.config import Config

WRAPPED = "model."
"""Before the names of weights and buffers in an `Averaged`'s state: its model is wrapped."""

Batches = Iterable[tuple[tuple[Tensor, ...], Tensor]]


class Averaged:
    """The average of a trial's configuration, of the weights that are trained.

    `context` is the forward pass's (autocast). An optimizer with an average of its own
    (Schedule-Free) steps on other weights than it is judged by; the average is of the former.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Config,
        total_steps: int,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model = model
        called = _OneArgument(model, context)
        kind = AVERAGES[config.average]
        self.weights = WeightAverage(called, kind, total_steps, **config.average_hypers)
        self._calibrated = (
            0  # the weights averaged when BatchNorm's statistics were last worked out
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the average, and of how many weights BatchNorm's statistics are."""
        return {"weights": self.weights.state_dict(), "calibrated": self._calibrated}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same average and model."""
        self.weights.load_state_dict(state["weights"])
        self._calibrated = state["calibrated"]

    @contextmanager
    def judged(self, batches: Batches) -> Iterator[None]:
        """Within: the model has the averaged weights, and BatchNorm's statistics under them.

        They are worked out once an average, by a pass over the training `batches`.
        """
        if self._calibrated != self.weights.averaged:
            with _buffers_kept(self._model):
                self.weights.update_bn((inputs,) for inputs, _ in batches)
            self._calibrated = self.weights.averaged
        with self.weights.applied():
            yield


@contextmanager
def weights_to_evaluate(
    optimizer: Optimizer,
    model: nn.Module,
    batches: Batches,
    context: Callable[[], AbstractContextManager[object]],
) -> Iterator[None]:
    """Within: `model` has the weights that this optimizer wants judged; afterwards its own again.

    For an average BatchNorm's statistics are those of the training `batches` under it. An optimizer
    of another library that has modes of its own (`eval()` and `train()`) is put into the right one.
    """
    if isinstance(optimizer, RuleOptimizer):
        if not optimizer.rule.averages:
            yield
            return
        with _buffers_kept(model), optimizer.averaged():
            update_bn(((inputs,) for inputs, _ in batches), _OneArgument(model, context))
            model.eval()
            yield
        return
    if not has_modes(optimizer):
        yield
        return
    modes: Any = optimizer
    modes.eval()
    try:
        yield
    finally:
        modes.train()


def has_modes(optimizer: Optimizer) -> bool:
    """Does this optimizer want to be told when weights are evaluated (Schedule-Free packages)?"""
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards every buffer of the model is as it was."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


class _OneArgument(nn.Module):
    """The model under a call with one argument, the tuple of its inputs, as `update_bn` makes."""

    def __init__(
        self, model: nn.Module, context: Callable[[], AbstractContextManager[object]]
    ) -> None:
        super().__init__()
        self.model = model
        self._context = context

    def forward(self, inputs: tuple[Tensor, ...]) -> Any:
        with self._context():
            return self.model(*inputs)
