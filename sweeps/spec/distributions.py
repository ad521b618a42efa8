"""One entry of `parameters` -> a distribution, in W&B's shapes, or all that is wrong in it.

`{distribution: ..., min: ..., max: ...}`, bare `min`/`max` (whole numbers if both are, else
uniform), `values` with or without `probabilities`, `value`, or a scalar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sweeps.config import scalar
from sweeps.space.distributions import Categorical, Distribution, Float, Integer, OneMinusLog
from sweeps.space.quantiles import Quantile, Weighted
from sweeps.space.values import is_finite, is_int, is_number, number
from sweeps.spec.faults import Faults, dotted, shown, unknown
from sweeps.spec.yaml_lines import Document, Path

_RANGE = (("min", "max"), ())
_Q_RANGE = (("min", "max"), ("q",))

KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "categorical": (("values",), ("probabilities",)),
    "categorical_w_probabilities": (("values", "probabilities"), ()),
    "uniform": _RANGE,
    "int_uniform": _RANGE,
    "q_uniform": _Q_RANGE,
    "log_uniform_values": _RANGE,
    "q_log_uniform_values": _Q_RANGE,
    "inv_log_uniform_values": _RANGE,
    "log_uniform": _RANGE,
    "q_log_uniform": _Q_RANGE,
    "inv_log_uniform": _RANGE,
    "normal": ((), ("mu", "sigma")),
    "q_normal": ((), ("mu", "sigma", "q")),
    "log_normal": ((), ("mu", "sigma")),
    "q_log_normal": ((), ("mu", "sigma", "q")),
    "beta": ((), ("a", "b")),
    "q_beta": ((), ("a", "b", "q")),
    "one_minus_log_uniform": _RANGE,
}
"""Distribution -> (the keys it needs, the keys it may have)."""

_DEFAULTS = {"mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0}
_EXPONENTS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
_MOST_STEPS = 1_000_000
_LARGEST_INTEGER = 2**53
_LARGEST_EXPONENT = math.log(1e300)


def read_distribution(raw: Any, path: Path, faults: Faults) -> Distribution | None:
    """Return the distribution that `raw` at `path` means, None with faults noted if it is wrong."""
    where = dotted(path)
    if isinstance(raw, list):
        faults.add(path, f"{where} is a list; write {{values: [...]}} to search it")
        return None
    if not isinstance(raw, Mapping):
        if raw is None:
            faults.add(path, f"{where} has no value")
            return None
        return Categorical((raw,))
    kind = _kind(raw, path, faults)
    if kind is None or not _keys_fit(kind, raw, path, faults):
        return None
    if kind == "constant":
        return Categorical((raw["value"],))
    if "values" in raw:
        return _listed(raw, path, faults)
    numbers = _numbers(kind, raw, path, faults)
    if numbers is None or not _in_order(kind, numbers, path, faults):
        return None
    try:
        made = _numeric(kind, numbers)
    except OverflowError:
        faults.add(path, f"{where} goes beyond the range of a float")
        return None
    if made.single and "q" in numbers and _has_width(numbers):
        q, only = number(numbers["q"]), number(made.first())
        given = f"q is {q}" if "q" in raw else f"q is {q} where it is absent"
        text = f"{where}: {given}, and {kind} rounds every value to a multiple of q: all become"
        faults.add(path, f"{text} {only}; give a smaller q, or {kind.removeprefix('q_')}")
        return None
    return made


def stored_distribution(raw: Mapping[str, Any]) -> Distribution:
    """Read back what `Distribution.to_json` wrote.

    Raises:
        ValueError: it is not of that form.
    """
    faults = Faults(Document())
    read = read_distribution(raw, (), faults)
    if read is None:
        raise ValueError("; ".join(fault.message for fault in faults.found))
    return read


def _kind(raw: Mapping[str, Any], path: Path, faults: Faults) -> str | None:
    given = raw.get("distribution")
    if given is not None:
        if isinstance(given, str) and given in KINDS:
            return given
        faults.add((*path, "distribution"), unknown("distribution", given, KINDS))
        return None
    for key, kind in (("values", "categorical"), ("value", "constant")):
        if key in raw:
            return kind
    if "min" in raw or "max" in raw:
        whole = is_int(raw.get("min")) and is_int(raw.get("max"))
        return "int_uniform" if whole else "uniform"
    faults.add(
        path,
        f"{dotted(path)} is {shown(raw)}; give value, values, min and max, or distribution with "
        "its keys",
    )
    return None


def _keys_fit(kind: str, raw: Mapping[str, Any], path: Path, faults: Faults) -> bool:
    needed, possible = KINDS[kind]
    known = ("distribution", *needed, *possible)
    fits = True
    for key in raw:
        if key not in known:
            hint = unknown("key", key, known)
            faults.add((*path, key), f"{dotted(path)} ({kind}): {hint}")
            fits = False
    for key in needed:
        if key not in raw:
            faults.add(path, f"{dotted(path)} ({kind}): {key} is missing")
            fits = False
    return fits


def _listed(raw: Mapping[str, Any], path: Path, faults: Faults) -> Distribution | None:
    values = raw["values"]
    where = dotted((*path, "values"))
    if not isinstance(values, list) or not values:
        faults.add(
            (*path, "values"), f"{where} is {shown(values)}; give a list with one value or more"
        )
        return None
    twice = _first_repeated(values)
    if twice is not None:
        faults.add((*path, "values"), f"{where} has {shown(values[twice])} twice")
        return None
    if len(values) == 1 or "probabilities" not in raw:
        return Categorical(tuple(values))
    probabilities = raw["probabilities"]
    problem = _probability_problem(probabilities, len(values))
    if problem:
        place = (*path, "probabilities")
        faults.add(place, f"{dotted(place)} {problem}")
        return None
    return Weighted(tuple(values), tuple(float(p) for p in probabilities))


def _first_repeated(values: list[Any]) -> int | None:
    """Return the index of the first value that equals an earlier one, as the study DB sees them."""
    coded = [scalar(value) for value in values]
    return next((i for i, code in enumerate(coded) if code in coded[:i]), None)


def _probability_problem(probabilities: Any, count: int) -> str | None:
    if not isinstance(probabilities, list) or not all(is_number(p) for p in probabilities):
        return f"is {shown(probabilities)}; give a list of numbers"
    if len(probabilities) != count:
        return f"has {len(probabilities)} numbers for {count} values; give one for each"
    if not all(0 <= p <= 1 for p in probabilities):
        return f"{shown(probabilities)} must lie between 0 and 1"
    total = math.fsum(probabilities)
    if abs(total - 1) > 1e-6:
        return f"sum to {number(total)}; they must sum to 1"
    return None


def _numbers(
    kind: str, raw: Mapping[str, Any], path: Path, faults: Faults
) -> dict[str, float] | None:
    """Return the distribution's numbers, absent ones at their default."""
    needed, possible = KINDS[kind]
    given: dict[str, float] = {key: _DEFAULTS.get(key, 1) for key in possible}
    sound = True
    for key in (*needed, *possible):
        if key not in raw:
            continue
        value = raw[key]
        place = (*path, key)
        if isinstance(value, str):
            hint = "write a number, without quotes or unit"
            faults.add(place, f"{dotted(place)} is the text {shown(value)}; {hint}")
        elif not is_finite(value):
            faults.add(place, f"{dotted(place)} is {shown(value)}; give a finite number")
        elif kind == "int_uniform" and not is_int(value):
            hint = "int_uniform takes whole numbers; q_uniform or uniform others"
            faults.add(place, f"{dotted(place)} is {shown(value)}; {hint}")
        else:
            given[key] = value
            continue
        sound = False
    return given if sound else None


def _in_order(kind: str, n: Mapping[str, float], path: Path, faults: Faults) -> bool:
    """Note what lies outside of what the distribution is defined for."""
    limits = _limits(kind, n)
    wrong = [(key, text) for key, holds, text in limits if key in n and not holds(n[key])]
    for key, text in wrong:
        place = (*path, key)
        faults.add(place, f"{dotted(place)} {text}; {number(n[key])} was given")
    if "min" in n and n["min"] > n["max"]:
        faults.add(
            (*path, "min"),
            f"{dotted(path)}: min {number(n['min'])} is greater than max {number(n['max'])}",
        )
        return False
    return not wrong


def _limits(kind: str, n: Mapping[str, float]) -> list[tuple[str, Callable[[float], bool], str]]:
    """Return what each number must fulfil: key, test, the words when it fails."""
    limits: list[tuple[str, Callable[[float], bool], str]] = [
        ("q", lambda q: q > 0, "must be above 0"),
        ("sigma", lambda sigma: sigma >= 0, "must be 0 or more"),
        ("a", lambda a: a > 0, "must be above 0"),
        ("b", lambda b: b > 0, "must be above 0"),
    ]
    if kind.endswith("log_uniform_values"):
        limits.append(("min", lambda low: low > 0, f"must be above 0 for {kind}"))
    if kind == "one_minus_log_uniform":
        limits.append(("max", lambda high: high < 1, f"must be below 1 for {kind}"))
    if kind in ("q_uniform", "q_log_uniform_values"):
        most = (n["max"] - n["min"]) / _MOST_STEPS
        limits.append(
            ("q", lambda q: q <= 0 or q >= most, f"gives more than {_MOST_STEPS:,} steps")
        )
    if kind == "int_uniform":
        hint = f"must lie within {_LARGEST_INTEGER:,} of 0"
        limits += [(key, lambda x: abs(x) <= _LARGEST_INTEGER, hint) for key in ("min", "max")]
    if kind in _EXPONENTS:
        hint = f"is an exponent (e^x) in {kind}, too large; log_uniform_values takes the values"
        limits += [(key, lambda x: abs(x) <= _LARGEST_EXPONENT, hint) for key in ("min", "max")]
    if kind.endswith("log_normal"):
        room = (_LARGEST_EXPONENT - abs(n["mu"])) / 5
        limits.append(("sigma", lambda sigma: sigma <= room, "gives values beyond a float's range"))
    return limits


def _numeric(kind: str, n: Mapping[str, float]) -> Distribution:
    family = kind.removeprefix("q_")
    low, high = (
        n.get("min", n.get("mu", n.get("a", 0))),
        n.get("max", n.get("sigma", n.get("b", 0))),
    )
    if kind == "inv_log_uniform":
        low, high = -high, -low
    if kind in _EXPONENTS:
        low, high = math.exp(low), math.exp(high)
    family = family.removeprefix("inv_").removesuffix("_values")
    if "q" in n:
        return _fixed(Quantile(family, low, high, n["q"]), n)
    if family in ("normal", "log_normal", "beta"):
        return _fixed(Quantile(family, low, high), n)
    if low == high:
        return Categorical((n["min"] if kind == "int_uniform" else low,))
    if kind == "int_uniform":
        return Integer(int(low), int(high))
    if kind == "one_minus_log_uniform":
        return OneMinusLog(low, high)
    return Float(float(low), float(high), log=family == "log_uniform")


def _fixed(distribution: Quantile, n: Mapping[str, float]) -> Distribution:
    """Return a constant in the place of a distribution that has but one value."""
    if n.get("sigma") == 0:
        center = distribution.a if distribution.family == "normal" else math.exp(distribution.a)
        q = distribution.q
        return Categorical((center if q is None else round(center / q) * q,))
    if distribution.family == "beta":  # between 0 and 1, without scipy
        always = distribution.q is not None and round(1 / distribution.q) == 0
        return Categorical((0,)) if always else distribution
    low, high = distribution.bounds()
    return Categorical((low,)) if low == high else distribution


def _has_width(n: Mapping[str, float]) -> bool:
    return n["min"] < n["max"] if "min" in n else n.get("sigma") != 0
