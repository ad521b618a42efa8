"""The constructor arguments of a drop-in, read off its rule: torch's names in torch's order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import Any

from optimizers.rule import COMMON_SWITCHES, DECAYS, Rule
from optimizers.spaces import with_decay

_REFUSED = ("capturable", "differentiable")
DECOUPLED = "decoupled_weight_decay"
"""torch's name for the switch `decay`, where its class has one: True is "decoupled"."""
_IGNORED: Mapping[str, Any] = MappingProxyType(
    {"foreach": None, "fused": None, **dict.fromkeys(_REFUSED, False)}
)


@cache
def places(rule: Rule) -> Mapping[str, tuple[str, int | None]]:
    """Where a param group keeps each hyperparameter: beta1 is betas[0], others have their name."""
    packed = {
        name: (key, index)
        for key, names in rule.tuples.items()
        for index, name in enumerate(names)
        if name in rule.hypers
    }
    return {name: packed.get(name, (name, None)) for name in rule.hypers}


@cache
def signature(rule: Rule) -> Signature:
    """`(params, <hyperparameters>, <own switches>, *, maximize, <common switches>, ...)`.

    Where torch mixes knobs and switches, its positional arguments come first, in its order.
    """
    positional = Parameter.POSITIONAL_OR_KEYWORD
    defaults: dict[str, Any] = {}
    for name, (key, index) in places(rule).items():
        hyper = rule.hypers[name]
        value: Any = int(hyper.default) if hyper.integer else hyper.default
        value = None if name in rule.nones and value == 0 else value
        defaults[key] = value if index is None else (*defaults.get(key, ()), value)
    defaults |= {switch: getattr(rule, switch) for switch in rule.switches}
    common = {switch: getattr(rule, switch) for switch in COMMON_SWITCHES}
    keywords = {"maximize": False, **common, **_IGNORED}
    if rule.names_decoupled:
        home = defaults if DECOUPLED in rule.positional else keywords
        home[DECOUPLED] = rule.decay == "decoupled"
    order = [*rule.positional, *(name for name in defaults if name not in rule.positional)]
    return Signature(
        [
            Parameter("params", positional),
            *(Parameter(name, positional, default=defaults[name]) for name in order),
            *(Parameter(n, Parameter.KEYWORD_ONLY, default=v) for n, v in keywords.items()),
        ]
    )


def knob_arguments(
    rule: Rule, hypers: Mapping[str, float], switches: Mapping[str, object]
) -> dict[str, Any]:
    """The constructor's arguments that these knobs mean; a missing one has its default.

    Raises:
        ValueError: an unknown hyperparameter or switch, or an invalid value.
    """
    rule.switched(switches).check(hypers)
    found: dict[str, Any] = dict(switches)
    defaults = with_decay(rule, str(switches.get("decay", rule.decay)))
    for name, (key, index) in places(rule).items():
        value: Any = hypers.get(name, defaults[name].default)
        value = None if name in rule.nones and value == 0 else value
        found[key] = value if index is None else (*found.get(key, ()), value)
    return found


def param_group(rule: Rule, params: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The param group's defaults that a call of the constructor means.

    Raises:
        TypeError: an argument that there is not; the message lists those there are.
        ValueError: an option of torch's that is not here, or two that contradict each other.
    """
    wanted = signature(rule)
    try:
        bound = wanted.bind(params, *args, **kwargs)
    except TypeError as error:
        known = ", ".join(name for name in wanted.parameters if name not in _IGNORED)
        raise TypeError(f"{rule.class_name}: {error}. Arguments: {known}") from None
    given = dict(bound.arguments)
    bound.apply_defaults()
    values = dict(bound.arguments)
    del values["params"]
    values.pop(DECOUPLED, None)
    if DECOUPLED in given:
        if not isinstance(given[DECOUPLED], bool):
            text = f"{DECOUPLED} = {given[DECOUPLED]!r} is invalid"
            raise ValueError(f"{text}; it must be True or False")
        values["decay"] = "decoupled" if given[DECOUPLED] else "l2"
        if given.get("decay", values["decay"]) != values["decay"]:
            raise ValueError(
                f"{DECOUPLED} = {given[DECOUPLED]!r} is invalid with decay = {given['decay']!r}; "
                "give one of the two"
            )
    if "weight_decay" not in given and values["decay"] in DECAYS:
        values["weight_decay"] = with_decay(rule, values["decay"])["weight_decay"].default
    for name in _IGNORED:
        if values.pop(name) and name in _REFUSED:
            raise ValueError(
                f"{name} = True is invalid; {rule.class_name} has it False only, take "
                f"torch.optim's own class for {name}"
            )
    return values


def check_group(rule: Rule, group: Mapping[str, Any]) -> None:
    """Refuse invalid values in a param group.

    Raises:
        ValueError: names the argument, its value and what is allowed.
    """
    from torch import Tensor  # which what code to paste needs of this module does without

    if not isinstance(group["maximize"], bool):
        raise ValueError(f"maximize = {group['maximize']!r} is invalid; it must be True or False")
    where = places(rule)
    for key, names in rule.tuples.items():
        value = group.get(key, names)
        if not isinstance(value, tuple | list) or len(value) != len(names):
            raise ValueError(f"{key} = {value!r} is invalid; it must hold {len(names)} numbers")
    values = pick(rule, group)

    def argument(name: str) -> str:
        key, index = where[name]
        return key if index is None else f"{key}[{index}]"

    for name, value in values.items():
        text = f"{argument(name)} = {value!r} is invalid"
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(f"{text}; a tensor must have one element")
        if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
            raise ValueError(f"{text}; it must be a number")
    rule.switched({name: group[name] for name in rule.options}).check(values, argument)


def pick(rule: Rule, group: Mapping[str, Any]) -> dict[str, Any]:
    """Every hyperparameter's value in a param group, as it stands there: a number or a tensor."""
    found = {
        name: group[key] if index is None else group[key][index]
        for name, (key, index) in places(rule).items()
    }
    for name in rule.nones:
        if found[name] is None:
            found[name] = 0.0
    return found
