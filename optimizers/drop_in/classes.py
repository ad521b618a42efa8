"""The drop-in classes, one a rule of the registry, and building one by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch.optim.optimizer import Optimizer, ParamsT

from optimizers.drop_in.arguments import knob_arguments, signature
from optimizers.drop_in.optimizer import RuleOptimizer
from optimizers.handover import ALGORITHMS, HandOver
from optimizers.names import lookup
from optimizers.rule import Rule
from optimizers.rules import RULES


def drop_in_class(rule: Rule) -> type[RuleOptimizer]:
    """The `torch.optim.Optimizer` of a rule: its constructor's arguments are the rule's knobs."""
    body = {
        "rule": rule,
        "__signature__": signature(rule),
        "__module__": "optimizers",
        "__doc__": f"{rule.class_name}: {rule.paper}.\n\n    {type(rule).__doc__}",
    }
    return type(rule.class_name, (RuleOptimizer,), body)


DROP_INS: Mapping[str, type[RuleOptimizer]] = {
    name: drop_in_class(rule) for name, rule in RULES.items()
}
"""The drop-in class of every rule, by the rule's name."""


def build_optimizer(
    name: str,
    params: ParamsT,
    hypers: Mapping[str, float],
    switches: Mapping[str, object] = MappingProxyType({}),
) -> Optimizer:
    """The optimizer of the algorithm `name`; a missing hyperparameter or switch has its default.

    It is a `RuleOptimizer`, but for `lbfgs` and for names with a dot (`pytorch_optimizer.Adan`).

    Raises:
        ValueError: an unknown name, hyperparameter or switch, or an invalid value.
    """
    algorithm = lookup(ALGORITHMS, "optimizer", name)
    if isinstance(algorithm, HandOver):
        return algorithm.build(params, hypers, switches)
    cls = DROP_INS[name]
    return cls(params, **knob_arguments(cls.rule, hypers, switches))
