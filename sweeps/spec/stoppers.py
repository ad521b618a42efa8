"""What may stand in `early_terminate` beside its type, which `sweeps.spec.models` does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.space.values import is_finite, is_number
from sweeps.spec.faults import Faults
from sweeps.spec.models import STOPPERS, EarlyTerminate


def check_stopper(raw: Any, faults: Faults) -> None:
    """Note keys that another type of pruner reads, and values that this one cannot take."""
    if not isinstance(raw, Mapping):
        return
    kind = raw.get("type")
    if kind is None:
        known = ", ".join(STOPPERS)
        faults.add(("early_terminate",), f"early_terminate.type is missing; give one of {known}")
    if not isinstance(kind, str) or kind not in STOPPERS:
        return
    own = STOPPERS[kind]
    for key in raw:
        if key in EarlyTerminate.model_fields and key not in ("type", *own):
            reads = ", ".join(own) or "nothing"
            text = f"early_terminate.{key} means nothing to {kind}; it reads {reads}"
            faults.add(("early_terminate", key), text)
    _check_values(kind, raw, faults)


def _check_values(kind: str, raw: Mapping[str, Any], faults: Faults) -> None:
    eta, percentile = raw.get("eta", 3), raw.get("percentile", 25)
    place = ("early_terminate",)
    rungs = kind == "asha" or (kind == "hyperband" and not {"min_iter", "max_iter"} & set(raw))
    if rungs and is_finite(eta) and eta > 1 and (eta < 2 or eta != int(eta)):
        text = f"early_terminate.eta is {eta}; {kind} takes a whole number of 2 or more"
        faults.add((*place, "eta"), text)
    if is_number(percentile) and percentile > 100:
        text = f"early_terminate.percentile is {percentile}; give a number up to 100"
        faults.add((*place, "percentile"), text)
    if kind == "hyperband" and {"min_iter", "max_iter"} <= raw.keys() and "s" not in raw:
        faults.add((*place, "max_iter"), "early_terminate has min_iter and max_iter; give one")
    if kind == "hyperband" and "max_iter" in raw and "s" not in raw:
        text = "early_terminate.max_iter needs s, the number of brackets counted back from it"
        faults.add((*place, "max_iter"), text)
