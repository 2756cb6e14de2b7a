"""The official rule of the BYU flagellar motor challenge: a tomogram holds one motor or none.

A motor predicted too far away counts as one false negative and no false positive: precision sees only tomograms
without a motor.
"""

from __future__ import annotations

import numpy as np

from copick_tools.types import Floats


def byu(reference: Floats, prediction: Floats, distance: Floats | float) -> Floats:
    """Counts of tp, fp and fn, (T, 3), for each of T tomograms.

    reference, prediction: (T, 3) xyz of the motor, in any unit; a row of NaN is a tomogram without one. distance: in that unit,
    one for all or (T,); the ball is closed.

    >>> import numpy as np
    >>> none = [np.nan] * 3
    >>> byu(np.array([[0.0, 0, 0], none]), np.array([[2000.0, 0, 0], [5, 5, 5]]), distance=1000)
    array([[0., 0., 1.],
           [0., 1., 0.]])
    """
    if reference.shape != prediction.shape or reference.ndim != 2 or reference.shape[1] != 3:
        raise ValueError(f"Expected shapes (T, 3), twice the same, but got {reference.shape} and {prediction.shape}")
    missing, silent = (np.isnan(side).all(axis=1) for side in (reference, prediction))
    for side, none in ((reference, missing), (prediction, silent)):
        if not np.isfinite(side[~none]).all():
            raise ValueError("Expected finite coordinates, or a row of NaN where there is no motor")
    exists, found = ~missing, ~silent
    with np.errstate(invalid="ignore"):  # z, y, x is the order that the official code sums in: ties fall alike
        hit = np.asarray(np.linalg.norm((reference - prediction)[:, ::-1], axis=1) <= distance)
    return np.stack([hit, ~exists & found, exists & ~hit], axis=1).astype(float)
