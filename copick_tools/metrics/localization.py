"""How far matched picks lie from their reference points, along each axis: the missing wedge makes z worse."""

from __future__ import annotations

import numpy as np

from copick_tools.metrics.bootstrap import FEWEST, interval
from copick_tools.types import Floats, Integers

AXES = ("x", "y", "z")
QUANTILES = {"median": 0.5, "p90": 0.9}
ALL, GRID = 256, 64  # values between which a resampled quantile may lie: all of them up to 256, else 64


def localization(offsets: Floats) -> dict[str, float]:
    """Median and 90th percentile of the distance, the same of each axis' absolute error, and each axis' mean (bias).

    offsets: (P, 3) xyz, prediction minus reference, in angstrom; at least one pair.

    >>> import numpy as np
    >>> found = localization(np.array([[0.0, 0, 2], [0, 0, -4]]))
    >>> found["median"], found["z.median"], found["z.bias"]
    (3.0, 3.0, -1.0)
    """
    if not len(offsets):
        raise ValueError("Expected at least one pair in argument `offsets`")
    numbers = {
        key: float(np.quantile(values, level))
        for name, values in _magnitudes(offsets).items()
        for key, level in _keys(name).items()
    }
    return numbers | {f"{axis}.bias": float(offsets[:, k].mean()) for k, axis in enumerate(AXES)}


def localization_intervals(offsets: Floats, run: Integers, runs: int) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of the same numbers over ``runs`` runs; none where fewer than five have a pair.

    offsets: (P, 3) xyz in angstrom. run: (P,) the run of each pair.
    """
    pairs_of = np.bincount(run, minlength=runs)
    if (pairs_of > 0).sum() < FEWEST:
        return {}
    effective = pairs_of.sum() ** 2 / (pairs_of**2).sum()
    sums = {"pairs": pairs_of.astype(float)[:, None]}
    grids = {}
    for name, values in _magnitudes(offsets).items():
        for key, level in _keys(name).items():
            grids[key] = _grid(values, level, effective)
            cells = run * (len(grids[key]) + 1) + np.searchsorted(grids[key], values)
            counts = np.bincount(cells, minlength=runs * (len(grids[key]) + 1)).reshape(runs, -1)
            sums[key] = counts.cumsum(axis=1, dtype=float)[:, :-1]
    for k, axis in enumerate(AXES):
        sums[f"{axis}.bias"] = np.bincount(run, offsets[:, k], runs)[:, None]
    ends = dict(zip(sums, np.cumsum([part.shape[1] for part in sums.values()])))

    def statistic(totals: Floats) -> Floats:
        parts = {key: totals[:, end - sums[key].shape[1] : end] for key, end in ends.items()}
        pairs = parts.pop("pairs")[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            numbers = [
                _quantile(part, grids[key], _level(key) * (pairs - 1) + 1) if key in grids else part[:, 0] / pairs
                for key, part in parts.items()
            ]
        return np.where(pairs > 0, numbers, np.nan).T

    bounds = interval(np.hstack(list(sums.values())), statistic)
    if bounds is None:
        return {}
    keys = [key for key in sums if key != "pairs"]
    return {key: (float(low), float(high)) for key, (low, high) in zip(keys, bounds.T) if np.isfinite(low + high)}


def _magnitudes(offsets: Floats) -> dict[str, Floats]:
    """Name -> (P,) absolute errors; the empty name is the distance."""
    return {"": np.linalg.norm(offsets, axis=1), **{axis: np.abs(offsets[:, k]) for k, axis in enumerate(AXES)}}


def _keys(name: str) -> dict[str, float]:
    return {f"{name}.{key}" if name else key: level for key, level in QUANTILES.items()}


def _level(key: str) -> float:
    return QUANTILES[key.rpartition(".")[2]]


def _grid(values: Floats, level: float, runs: float) -> Floats:
    """Values among which a quantile's resamples lie: all, or those as far as six standard errors if runs were the sample."""
    if len(values) <= ALL:
        return np.unique(values)
    width = 3 / np.sqrt(runs)
    levels = np.linspace(max(0.0, level - width), min(1.0, level + width), GRID)
    return np.unique(np.quantile(values, levels, method="inverted_cdf"))


def _quantile(below: Floats, grid: Floats, wanted: Floats) -> Floats:
    """below: (samples, G) how many values are at most grid (G,). Where ``wanted`` (samples,) of them are, interpolated."""
    after = np.minimum((below < wanted[:, None]).sum(axis=1), len(grid) - 1)
    before = np.maximum(after - 1, 0)
    samples = np.arange(len(below))
    first, last = below[samples, before], below[samples, after]
    share = np.clip((wanted - first) / np.where(last > first, last - first, 1), 0, 1)
    return np.asarray(grid[before] + share * (grid[after] - grid[before]))
