"""The variance rectification of RAdam, written once: RAdam and Ranger use it."""

from __future__ import annotations

from optimizers.lane_math import Number, maximum


def rectification(beta2: Number, t: Number) -> tuple[Number, Number]:
    """(rho_t, r_t): the length of the second moment's average at update `t`, and its factor.

        rho_inf = 2 / (1 - beta2) - 1
        rho_t = rho_inf - 2 * t * beta2^t / (1 - beta2^t)
        r_t = sqrt((rho_t - 4) * (rho_t - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho_t))

    r_t means something only where rho_t > 4; elsewhere it is 0, which is a number, so that a caller
    may `select` on rho_t > 5 (torch, and Ranger) or on rho_t > 4 (the paper).

    Source: Liu et al., arXiv:1908.03265, algorithm 2.
    """
    length = 2 / (1 - beta2) - 1
    power = beta2**t
    rho = length - 2 * t * power / (1 - power)
    # rho <= length, so that where rho <= 4 the numerator is 0 whatever the denominator is.
    above = maximum(rho - 4, 0.0)
    below = maximum((length - 4) * (length - 2) * rho, 1e-300)
    return rho, (above * (rho - 2) * length / below) ** 0.5
