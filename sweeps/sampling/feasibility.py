"""How likely a point is to train without diverging, learned from which trials did.

A logistic regression on the squares and products of a point's places, with a normal prior on its
weights: a threshold on the learning rate, or on its product with momentum, is a straight edge in
the unit cube, where both are on their log scales. A point is allowed where it trains with a
probability of at least 0.9.

Source: Gelbart et al., "Bayesian Optimization with Unknown Constraints", arXiv:1403.5607 (a
constraint that is only seen as met or not, and has to be met with a given probability); Bishop,
"Pattern Recognition and Machine Learning", 2006, section 4.3.3 (the fit by Newton's method).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from sweeps.sampling.parzen import Array

PRECISION = 1e-3  # of the prior on each weight: it only keeps them finite
FREE = 1e-6  # of that on the constant
STEPS = 50
LONGEST = 5.0  # step of one weight: far from the optimum Newton's method overshoots
ALLOWED = 0.9


class Feasibility:
    """The model, fitted to points [n, d] in the unit cube and which of them diverged, [n]."""

    def __init__(
        self, dimensions: Sequence[BaseDistribution], points: Array, diverged: Array
    ) -> None:
        self._dimensions = dimensions
        features = self._features(points)
        precision = np.full(features.shape[1], PRECISION)
        precision[0] = FREE
        self._weights = np.zeros(features.shape[1])
        for _ in range(STEPS):
            p = _logistic(features @ self._weights)
            slope = features.T @ (p - diverged) + precision * self._weights
            curvature = (features.T * (p * (1 - p))) @ features + np.diag(precision)
            step = np.linalg.solve(curvature, slope)
            step *= LONGEST / max(LONGEST, np.abs(step).max())
            self._weights -= step
            if np.abs(step).max() < 1e-3:
                break

    def log_probability(self, points: Array) -> Array:
        """Return the log probability that points, [N, d], do not diverge, [N]."""
        return np.asarray(-np.logaddexp(0.0, self._features(points) @ self._weights))

    def allowed(self, points: Array) -> NDArray[np.bool_]:
        """Return which of the points, [N, d], are likely to train, [N]."""
        return np.asarray(self.log_probability(points) >= np.log(ALLOWED))

    def _features(self, points: Array) -> Array:
        columns = [np.ones(len(points))]
        numbers = []
        for i, dimension in enumerate(self._dimensions):
            if isinstance(dimension, CategoricalDistribution):
                columns += [points[:, i] == choice for choice in range(len(dimension.choices))]
            else:
                numbers.append(2 * points[:, i] - 1)
        columns += numbers
        columns += [a * b for i, a in enumerate(numbers) for b in numbers[i:]]
        return np.stack(columns, axis=1).astype(float)


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x.clip(-500, 500))))
