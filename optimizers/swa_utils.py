"""Averages of a model's weights, and the learning rate for them: torch's own, under torch's names.

They are not written again: torch's work with any optimizer, these too. An average is updated by
`AveragedModel.update_parameters(model)`: the mean (`get_swa_*`, Izmailov et al., arXiv:1803.05407)
or an exponential moving one (`get_ema_*`); `update_bn` works out BatchNorm's statistics for it.
"""

from __future__ import annotations

from torch.optim.swa_utils import (
    SWALR,
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
    update_bn,
)

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]
