"""Scores that mean what they say: of picks with score 0.8, four in five are true.

Isotonic regression (Zadrozny and Elkan, KDD 2002) where there are many picks, temperature and bias of the log-odds (Platt
1999; Guo et al., ICML 2017) where there are few. Both keep the order of scores.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

from copick_tools.types import Floats, Mask

EDGE = 1e-3  # scores are kept this far from 0 and 1 where log-odds are taken
TILT = 1e-3  # share of the raw score in a calibrated one: picks of one step keep their order
RIDGE = 1.0  # pull of temperature and bias to 1 and 0


def fit_isotonic(scores: Floats, true: Mask) -> tuple[Floats, Floats]:
    """Knots of the map from raw scores to probabilities: raw (K,), rising from 0 to 1, and calibrated (K,), rising.

    scores: (N,) in [0, 1]. true: (N,). Below the first step's middle and above the last one's the map is nearly flat.

    >>> raw, calibrated = fit_isotonic(np.array([0.2, 0.4, 0.6, 0.8]), np.array([False, True, False, True]))
    >>> calibrated.round(2).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    >>> fit_isotonic(np.empty(0), np.empty(0, bool))
    (array([0., 1.]), array([0., 1.]))
    """
    if not len(scores):
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    levels, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    found = isotonic_regression(np.bincount(place, true) / counts, weights=counts)
    first = np.asarray(found.blocks)[:-1]
    middle = np.add.reduceat(levels * counts, first) / np.add.reduceat(counts, first)
    inside = (middle > 0) & (middle < 1)
    steps = found.x[first]
    raw = np.concatenate([[0.0], middle[inside], [1.0]])
    flat = np.concatenate([[steps[0]], steps[inside], [steps[-1]]])
    return raw, _tilted(flat, raw)


def apply_isotonic(scores: Floats, raw: Floats, calibrated: Floats) -> Floats:
    """Calibrated scores, (N,) in [0, 1], by linear interpolation between the knots.

    >>> apply_isotonic(np.array([0.25]), np.array([0.0, 1.0]), np.array([0.0, 0.8]))
    array([0.2])
    """
    return np.asarray(np.interp(scores, raw, calibrated))


def fit_temperature(scores: Floats, true: Mask) -> tuple[float, float]:
    """Temperature and bias of the log-odds, by maximum likelihood.

    scores: (N,) in [0, 1]. true: (N,). Few picks can't make it sure: their truth counts as Platt's (N + 1) / (N + 2), and
    temperature and bias are pulled to 1 and 0.

    >>> fit_temperature(np.empty(0), np.empty(0, bool))
    (1.0, 0.0)
    """
    if not len(scores):
        return 1.0, 0.0
    odds, trues = _log_odds(scores), int(true.sum())
    target = np.where(true, (trues + 1) / (trues + 2), 1 / (len(true) - trues + 2))

    def loss(values: Floats) -> float:
        likely = np.exp(values[0]) * odds + values[1]
        return float((np.logaddexp(0, likely) - target * likely).sum() + RIDGE * (values**2).sum())

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-4.0, 2.0), (-12.0, 12.0)])
    return float(np.exp(-found.x[0])), float(found.x[1])


def apply_temperature(scores: Floats, temperature: float, bias: float) -> Floats:
    """Calibrated scores, (N,) in (0, 1).

    >>> apply_temperature(np.array([0.5, 0.8]), 1.0, 0.0).round(6)
    array([0.5, 0.8])
    """
    return _tilted(expit(_log_odds(scores) / temperature + bias), np.asarray(scores))


def _tilted(calibrated: Floats, raw: Floats) -> Floats:
    """A little of the raw score in it, so that no two are equal."""
    return np.asarray((1 - TILT) * calibrated + TILT * raw)


def _log_odds(scores: Floats) -> Floats:
    return np.asarray(logit(np.clip(scores, EDGE, 1 - EDGE)))
