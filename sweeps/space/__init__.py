"""The search space: knobs, the choices that they hang on, and how each is sampled.

space.py           knobs and the conditional tree; suggest, encode, grid
script.py          the parameters of any script, which nothing hangs on
distributions.py   what Optuna samples itself; quantiles.py: what is searched as its quantile
values.py          values as people write and read them
"""

from __future__ import annotations

from sweeps.space.space import FRACTIONS, PRODUCT, Knob, Owner, Space, with_fractions

__all__ = ["FRACTIONS", "PRODUCT", "Knob", "Owner", "Space", "with_fractions"]
