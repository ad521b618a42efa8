"""Sweep files whose spaces the samplers' tests search."""

from __future__ import annotations

TWO_KNOBS = """
task: iris-mlp
optimizer: sgd
schedule: constant
parameters:
  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0}
  weight_decay: {distribution: log_uniform_values, min: 1.0e-6, max: 1.0e-2}
  momentum: 0.9
  warmup_fraction: 0
"""
