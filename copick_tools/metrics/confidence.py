"""Scores that mean what they say: of picks with score 0.8, four in five are true.

Isotonic regression (Zadrozny and Elkan, KDD 2002) where there are many picks, temperature and bias of the log-odds (Platt
1999; Guo et al., ICML 2017) where there are few. Both keep the order of scores.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

from copick_tools.types import Floats, Mask

EDGE = 1e-6  # scores are kept this far from 0 and 1 where log-odds are taken
TILT = 1e-3  # share of the raw score in an isotonic one, so that picks of one step keep their order
RIDGE = 1e-2  # pull of temperature and bias to 1 and 0, as so many picks


def fit_isotonic(scores: Floats, true: Mask) -> tuple[Floats, Floats]:
    """Knots of the map from raw scores to probabilities: raw (K,), rising from 0 to 1, and calibrated (K,), rising.

    scores: (N,) in [0, 1]. true: (N,).

    >>> raw, calibrated = fit_isotonic(np.array([0.2, 0.4, 0.6, 0.8]), np.array([False, True, False, True]))
    >>> calibrated.round(2).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    levels, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    found = isotonic_regression(np.bincount(place, true) / counts, weights=counts)
    edges = np.asarray(found.blocks)
    weights = np.diff(np.append(0, np.cumsum(counts))[edges])
    centers = np.add.reduceat(levels * counts, edges[:-1]) / weights
    raw = np.concatenate([[0.0], centers, [1.0]])
    steps = np.concatenate([[0.0], found.x[edges[:-1]], [found.x[-1]]])
    inner = np.concatenate([[True], (centers > 0) & (centers < 1), [True]])
    if not inner[1:-1].all():  # a block at the very end replaces the end
        steps[0], steps[-1] = (found.x[0] if centers[0] <= 0 else 0.0), found.x[-1]
    raw, steps = raw[inner], steps[inner]
    return raw, (1 - TILT) * steps + TILT * raw


def apply_isotonic(scores: Floats, raw: Floats, calibrated: Floats) -> Floats:
    """Calibrated scores, (N,) in [0, 1], by linear interpolation between the knots.

    >>> apply_isotonic(np.array([0.25]), np.array([0.0, 1.0]), np.array([0.0, 0.8]))
    array([0.2])
    """
    return np.asarray(np.interp(scores, raw, calibrated))


def fit_temperature(scores: Floats, true: Mask) -> tuple[float, float]:
    """Temperature and bias of the log-odds, by maximum likelihood with a slight pull to 1 and 0.

    scores: (N,) in [0, 1]. true: (N,).

    >>> fit_temperature(np.empty(0), np.empty(0, bool))
    (1.0, 0.0)
    """
    if not len(scores):
        return 1.0, 0.0
    odds, sign = _log_odds(scores), np.where(true, 1.0, -1.0)

    def loss(values: Floats) -> float:
        slope, bias = np.exp(values[0]), values[1]
        pull = RIDGE * (values[0] ** 2 + bias**2)
        return float(np.logaddexp(0, -sign * (slope * odds + bias)).sum() + pull)

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-4.0, 4.0), (-12.0, 12.0)])
    return float(np.exp(-found.x[0])), float(found.x[1])


def apply_temperature(scores: Floats, temperature: float, bias: float) -> Floats:
    """Calibrated scores, (N,) in (0, 1).

    >>> apply_temperature(np.array([0.5, 0.8]), 1.0, 0.0).round(6)
    array([0.5, 0.8])
    """
    return np.asarray(expit(_log_odds(scores) / temperature + bias))


def _log_odds(scores: Floats) -> Floats:
    return np.asarray(logit(np.clip(scores, EDGE, 1 - EDGE)))
