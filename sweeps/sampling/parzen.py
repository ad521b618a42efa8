"""Kernel densities in the unit cube: what TPE calls l(x) and g(x).

A density is a mixture of product kernels, one for each observed point and a flat one, the prior.
Numbers have Gaussian kernels truncated to [0, 1], integers and steps the mass of these on their
cells, categories a share. Bandwidths and weights are those of Optuna's multivariate TPE: a kernel
is as wide as the larger gap to its neighbours, at least 1 / min(100, n + 2) and at most 1; of more
than 25 points, the older ones weigh less.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011; Falkner et al.,
arXiv:1807.01774 (product kernels); Optuna's `samplers/_tpe/parzen_estimator.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.special import ndtr, ndtri

from sweeps.unit_cube import cells

Array = NDArray[np.float64]

FULL_WEIGHT = 25  # so many of the newest points weigh 1
FINEST = 100  # no kernel is narrower than 1 / FINEST
BLOCK = 512  # kernels at once: what is worked out of them stays in a processor's cache
LEAST = -700.0  # exp of less is slow, and nothing beside 1


class Kernels:
    """K product kernels over d dimensions.

    Args:
        dimensions: d distributions.
        points: [K, d]; a number's place in [0, 1], a category's index; NaN: no category.
        widths: [K, d]; a categorical dimension does not use it.
        smoothing: what each category has before the observed one is given 1.
    """

    def __init__(
        self,
        dimensions: Sequence[BaseDistribution],
        points: Array,
        widths: Array,
        smoothing: float,
    ) -> None:
        self._dimensions, self._points, self._widths = dimensions, points, widths
        self._shares = {
            i: _shares(points[:, i], len(d.choices), smoothing)
            for i, d in enumerate(dimensions)
            if isinstance(d, CategoricalDistribution)
        }
        smooth = [i for i, d in enumerate(dimensions) if i not in self._shares]
        self._smooth = [i for i in smooth if cells(dimensions[i], points[:0, i]) is None]
        mu, sigma = points[:, self._smooth], widths[:, self._smooth]
        # log N(x; mu, sigma) = -x^2 / 2 sigma^2 + x mu / sigma^2 + constant: two matrix products
        self._square, self._linear = -0.5 / sigma**2, mu / sigma**2
        constant = -0.5 * (mu / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
        self._constant = (constant - np.log(_inside(mu, sigma))).sum(axis=1)

    def log_density(self, x: Array, weights: Array) -> Array:
        """Return the log of the sum of the kernels' densities, times weights [K], at x [N, d]."""
        blocks = [slice(first, first + BLOCK) for first in range(0, len(weights), BLOCK)]
        parts = [_log_sum(self._log_pdf(x, block), weights[block]) for block in blocks]
        return np.asarray(np.logaddexp.reduce(parts, axis=0))

    def _log_pdf(self, x: Array, some: slice) -> Array:
        """Return the log density of each of N points under each of some kernels, [N, K]."""
        smooth = x[:, self._smooth]
        found: Array = smooth**2 @ self._square[some].T + smooth @ self._linear[some].T
        found += self._constant[some]
        for i, dimension in enumerate(self._dimensions):
            if i in self._shares:
                found += np.log(self._shares[i][some].T)[x[:, i].astype(int)]
            elif i not in self._smooth:
                found += self._log_mass(i, dimension, x[:, i], some)
        return found

    def sample(self, rng: np.random.Generator, chosen: NDArray[np.int64]) -> Array:
        """Return a point of each of the N chosen kernels, [N, d]."""
        x = np.empty((len(chosen), len(self._dimensions)))
        for i, dimension in enumerate(self._dimensions):
            u = rng.random(len(chosen))
            if i in self._shares:
                reached = self._shares[i][chosen].cumsum(axis=1)
                x[:, i] = (reached[:, :-1] < u[:, None]).sum(axis=1)
                continue
            mu, sigma = self._points[chosen, i], self._widths[chosen, i]
            place = mu + sigma * ndtri(ndtr(-mu / sigma) + u * _inside(mu, sigma))
            x[:, i] = np.clip(place, 0.0, 1.0)
            cell = cells(dimension, x[:, i])
            if cell is not None:
                x[:, i] = cell.middle
        return x

    def _log_mass(self, i: int, dimension: BaseDistribution, x: Array, some: slice) -> Array:
        values, inverse = np.unique(x, return_inverse=True)
        cell = cells(dimension, values)
        if cell is None:
            raise TypeError(f"{dimension} has no cells")
        mu, sigma = self._points[some, i], self._widths[some, i]
        left, right = (cell.left[:, None] - mu) / sigma, (cell.right[:, None] - mu) / sigma
        beyond = left > 0  # where both tails are near 1, their difference would be lost
        left, right = np.where(beyond, -right, left), np.where(beyond, -left, right)
        with np.errstate(divide="ignore"):
            mass = np.log((ndtr(right) - ndtr(left)) / _inside(mu, sigma))
        return np.asarray(mass[inverse])


class Density:
    """The mixture of one kernel a point, [n, d], oldest first, and the prior."""

    def __init__(self, dimensions: Sequence[BaseDistribution], points: Array) -> None:
        n, d = points.shape
        self._dimensions, self._smoothing = dimensions, 1.0 / (n + 1)
        self._sorted = np.sort(points, axis=0)
        categorical = [isinstance(each, CategoricalDistribution) for each in dimensions]
        prior = np.where(categorical, np.nan, 0.5)[None]
        widths = np.vstack([_gaps(points), np.ones((1, d))])
        self._kernels = Kernels(dimensions, np.vstack([points, prior]), widths, self._smoothing)
        weights = np.append(recency(n), 1.0)
        self._total = float(weights.sum())
        self._shares = weights / self._total

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Return points, [size, d]."""
        chosen = rng.choice(len(self._shares), p=self._shares, size=size)
        return self._kernels.sample(rng, chosen)

    def log_pdf(self, x: Array, more: Array | None = None) -> Array:
        """Return the log density at N points, [N].

        Each of `more`, [m, d], counts as a new point.
        """
        found: Array = self._kernels.log_density(x, self._shares)
        if more is None or not len(more):
            return found
        late = Kernels(self._dimensions, more, self._late_widths(more), self._smoothing)
        added = late.log_density(x, np.ones(len(more)))
        both = np.logaddexp(found + np.log(self._total), added)
        return np.asarray(both - np.log(self._total + len(more)))

    def _late_widths(self, points: Array) -> Array:
        n = len(self._sorted)
        if n < 2:
            return np.maximum(points, 1 - points)
        widths = np.empty(points.shape)
        for i, known in enumerate(self._sorted.T):
            after = np.searchsorted(known, points[:, i], side="right")
            low, high = known[(after - 1).clip(0)], known[after.clip(max=n - 1)]
            widths[:, i] = np.maximum(points[:, i] - low, high - points[:, i])
        return _clipped(widths, n)


def _gaps(points: Array) -> Array:
    """Return the larger gap of each point, [n, d], to the two beside it, clipped.

    A bound is a neighbour only of a point that is alone.
    """
    n = len(points)
    if n < 2:
        return np.maximum(points, 1 - points)
    order = np.argsort(points, axis=0, kind="stable")
    gap = np.diff(np.take_along_axis(points, order, axis=0), axis=0)
    widths = np.empty(points.shape)
    larger = np.vstack([gap[:1], np.maximum(gap[:-1], gap[1:]), gap[-1:]])
    np.put_along_axis(widths, order, larger, axis=0)
    return _clipped(widths, n)


def _clipped(widths: Array, n: int) -> Array:
    return widths.clip(1 / min(FINEST, n + 2), 1.0)


def _log_sum(logs: Array, weights: Array) -> Array:
    """Return log(exp(logs) @ weights), [N]; overwrites `logs`, [N, K]."""
    most = logs.max(axis=1, keepdims=True)
    logs -= most
    np.maximum(logs, LEAST, out=logs)
    np.exp(logs, out=logs)
    return np.asarray(np.log(logs @ weights) + most[:, 0])


def recency(n: int) -> Array:
    """Return the weights of n points, oldest first: a ramp, then 1 for the newest 25."""
    ramp = np.linspace(1 / n, 1.0, num=n - FULL_WEIGHT) if n > FULL_WEIGHT else np.empty(0)
    return np.append(ramp, np.ones(min(n, FULL_WEIGHT)))


def _shares(observed: Array, choices: int, smoothing: float) -> Array:
    """Return the probability of each category under each kernel, [K, choices]."""
    shares = np.full((len(observed), choices), smoothing)
    known = np.flatnonzero(~np.isnan(observed))
    shares[known, observed[known].astype(int)] += 1
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _inside(mu: Array, sigma: Array) -> Array:
    """Return how much of each Gaussian lies in [0, 1]."""
    return np.asarray(ndtr((1 - mu) / sigma) - ndtr(-mu / sigma))
