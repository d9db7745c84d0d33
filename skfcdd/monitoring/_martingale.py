"""Martingale that bets against uniform p-values."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Martingale"]

# Exponents k of the bets k p^(k - 1). Smaller exponents bet on more extreme ranks.
_EXPONENTS = (0.15, 0.4, 0.7)
# Parameters of the bets Beta(a, a), which pay if extreme ranks are missing because
# scores vary less than in calibration, for example if the camera repeats an image.
_NARROW = (2.0, 4.0)
# p-values are clipped to this range, because payoffs at 0 and 1 can be infinite or 0.
_LEAST, _GREATEST = 2.0**-60, 1 - 2.0**-53


@functools.cache
def _log_norms() -> npt.NDArray[np.float64]:
    """Return the log normalisation constants of the Beta densities."""
    return np.array([math.lgamma(2 * a) - 2 * math.lgamma(a) for a in _NARROW])


def log_bets(p: float) -> npt.NDArray[np.float64]:
    """Return the log payoff of each bet per unit stake.

    The bets pay for small p-values (higher scores than before), large ones (lower
    scores), both (scores that vary more), and medium ones (scores that vary less). Each
    payoff integrates to 1 over p.
    """
    p = min(max(p, _LEAST), _GREATEST)
    small, great = math.log(p), math.log1p(-p)
    k = np.array(_EXPONENTS)
    risen, fallen = np.log(k) + (k - 1) * small, np.log(k) + (k - 1) * great
    wider = np.logaddexp(risen, fallen) - math.log(2)
    narrower = _log_norms() + (np.array(_NARROW) - 1) * (small + great)
    return np.concatenate([risen, fallen, wider, narrower])


def kept_until(step: int) -> float:
    """Return the share of the initial wealth that is not staked after `step` steps.

    It decreases more slowly than any power of `step`, so that some wealth is left to
    bet on late changes.
    """
    return 1 / math.log(math.e + step)


class Martingale:
    """Wealth of a gambler who bets against independent uniform p-values.

    A gambler who staked everything at once would lose most of it before a late change,
    and need many images to win it back. Therefore, each step stakes another part of the
    initial wealth, fixed in advance, and divides it equally among all bets. Stakes and
    their gains remain on the same bet. Each stake is a fair game, and so is their sum.

    Attributes
    ----------
    step : int
        Number of p-values so far.
    log_stakes : ndarray of float64
        Logarithm of the wealth on each bet.
    log_wealth, log_greatest : float
        Logarithms of the current wealth and of the highest wealth so far.
    """

    def __init__(self) -> None:
        n_bets = 3 * len(_EXPONENTS) + len(_NARROW)
        self.step = 0
        self.log_stakes: npt.NDArray[np.float64] = np.full(n_bets, -np.inf)
        self.log_wealth = 0.0
        self.log_greatest = 0.0

    def bet(self, p: float) -> float:
        """Place the bets on a p-value, and return the logarithm of the wealth."""
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
        """Return the state for JSON, from which `restored` recreates the martingale."""
        return {
            "step": self.step,
            "log_stakes": [v if math.isfinite(v) else None for v in self.log_stakes],
            "log_wealth": self.log_wealth,
            "log_greatest": self.log_greatest,
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Martingale:
        """Recreate a martingale from its state.

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
