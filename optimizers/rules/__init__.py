"""The registry of algorithms. To add one: a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from optimizers.rule import Rule
from optimizers.rules.adam import ADAM, ADAMW
from optimizers.rules.sgd import SGD, SGDW

RULES: Mapping[str, Rule] = {rule.name: rule for rule in (SGD, SGDW, ADAM, ADAMW)}
"""Every algorithm by name."""
