"""The game against uniform p-values: bets, and when they are placed."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Martingale"]

# Exponents of the bets k p^(k - 1): the smaller, the more is staked on extreme ranks.
_EXPONENTS = (0.15, 0.4, 0.7)
# Densities of Beta(a, a), which bet that the extremes are missing: scores that vary
# less than those of calibration, such as those of a camera that has stopped.
_NARROW = (2.0, 4.0)
# p-values are kept off 0 and 1, where bets are infinite or nothing.
_LEAST, _GREATEST = 2.0**-60, 1 - 2.0**-53


@functools.cache
def _log_norms() -> npt.NDArray[np.float64]:
    """Logarithms of what makes the narrow bets densities."""
    return np.array([math.lgamma(2 * a) - 2 * math.lgamma(a) for a in _NARROW])


def log_bets(p: float) -> npt.NDArray[np.float64]:
    """Log payoff of each bet per unit stake; each payoff integrates to 1 over p.

    The bets pay for small p-values (scores have risen), large ones (fallen), both (they
    vary more), and medium ones (they vary less).
    """
    p = min(max(p, _LEAST), _GREATEST)
    small, great = math.log(p), math.log1p(-p)
    k = np.array(_EXPONENTS)
    risen, fallen = np.log(k) + (k - 1) * small, np.log(k) + (k - 1) * great
    wider = np.logaddexp(risen, fallen) - math.log(2)
    narrower = _log_norms() + (np.array(_NARROW) - 1) * (small + great)
    return np.concatenate([risen, fallen, wider, narrower])


def kept_until(step: int) -> float:
    """Return the share of the wealth that is not yet staked after `step` steps.

    It decreases more slowly than any power, so that some wealth is left to bet on late
    changes.
    """
    return 1 / math.log(math.e + step)


class Martingale:
    """Wealth of a gambler against independent uniform p-values.

    Wealth that is lost cannot be won back soon, and a change may come after a long time
    without any. So each step stakes a part of the initial capital, fixed
    beforehand, on all bets alike, and stakes stay with their bets. Each stake is a fair
    game, so their sum is.

    Attributes
    ----------
    step : int
        Number of p-values so far.
    log_stakes : ndarray of float64
        Logarithm of what each bet holds.
    log_wealth, log_greatest : float
        Logarithms of the wealth, and of the highest so far.
    """

    def __init__(self) -> None:
        n_bets = 3 * len(_EXPONENTS) + len(_NARROW)
        self.step = 0
        self.log_stakes: npt.NDArray[np.float64] = np.full(n_bets, -np.inf)
        self.log_wealth = 0.0
        self.log_greatest = 0.0

    def bet(self, p: float) -> float:
        """Stake, see a p-value, and return the logarithm of the wealth."""
        staked = kept_until(self.step) - kept_until(self.step + 1)
        share = math.log(staked / len(self.log_stakes))
        self.log_stakes = np.logaddexp(self.log_stakes, share) + log_bets(p)
        self.step += 1
        self.log_wealth = float(
            np.logaddexp(
                np.logaddexp.reduce(self.log_stakes), math.log(kept_until(self.step))
            )
        )
        self.log_greatest = max(self.log_greatest, self.log_wealth)
        return self.log_wealth

    def state(self) -> dict[str, Any]:
        """Return the state for JSON; `restored` recreates the martingale from it."""
        return {
            "step": self.step,
            "log_stakes": [v if math.isfinite(v) else None for v in self.log_stakes],
            "log_wealth": self.log_wealth,
            "log_greatest": self.log_greatest,
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Martingale:
        """The martingale of a state.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the state is damaged.
        """
        made = cls()
        stakes = [-np.inf if v is None else float(v) for v in state["log_stakes"]]
        if len(stakes) != len(made.log_stakes) or np.isnan(stakes).any():
            raise ValueError(f"expected {len(made.log_stakes)} stakes, got {stakes}.")
        made.step = int(state["step"])
        made.log_stakes = np.array(stakes)
        made.log_wealth = float(state["log_wealth"])
        made.log_greatest = float(state["log_greatest"])
        return made
