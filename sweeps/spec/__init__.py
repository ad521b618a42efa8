"""The sweep file: YAML -> a frozen `Spec`, or every fault in one go, each with its line.

yaml_lines.py      YAML 1.2 as data, with the line of each node
lift.py            `parameters.optimizer`, `.epochs`, ... to the top-level keys that they mean
keys.py            the top level: which keys there are
models.py          their types and defaults
stoppers.py        what stands in `early_terminate`
task.py            the factory's arguments
distributions.py   one entry of `parameters` -> a distribution
entries.py         the entries of `parameters`, bare and nested
build_space.py     all of them, and the defaults -> the search space
names.py           names of nobody, and what they may have meant; foreign.py: other tools' keys
known.py           `baseline` and `enqueue` -> configurations, and back
meaning.py         what two files must share so that their trials compare
load.py            all of it together
"""

from __future__ import annotations

from sweeps.spec.faults import Fault, SpecError
from sweeps.spec.known import known_entry
from sweeps.spec.load import Spec, load_spec
from sweeps.spec.meaning import differences

__all__ = ["Fault", "Spec", "SpecError", "differences", "known_entry", "load_spec"]
