"""The official rule of the BYU flagellar motor challenge: a tomogram holds one motor or none.

A motor predicted too far away counts as one false negative and no false positive: precision sees only tomograms
without a motor.
"""

from __future__ import annotations

import numpy as np

from copick_tools.types import Floats, Match


def byu(reference: Floats, prediction: Floats, scores: Floats, distance: float) -> Match | None:
    """Score one tomogram; of several predictions the one with the best score counts.

    reference: (N, 3) xyz in angstrom. prediction: (M, 3) xyz in angstrom. scores: (M,). distance: angstrom, closed ball.

    Returns None when the reference holds more than one motor: the challenge's rule doesn't define that.

    >>> import numpy as np
    >>> motor, far = np.zeros((1, 3)), np.array([[2000.0, 0, 0]])
    >>> outcome = byu(motor, far, np.ones(1), distance=1000)
    >>> outcome.tp, outcome.fp, outcome.fn
    (0, 0, 1)
    """
    if not (np.isfinite(reference).all() and np.isfinite(prediction).all() and np.isfinite(scores).all()):
        raise ValueError("Expected finite coordinates and scores")
    if len(reference) > 1:
        return None
    nothing = np.empty((0, 2), dtype=int), np.empty(0)
    if not len(prediction):
        return Match(0, 0, len(reference), *nothing)
    if not len(reference):
        return Match(0, 1, 0, *nothing)
    best = int(np.argmax(scores))
    separation = float(np.linalg.norm(reference[0] - prediction[best]))
    if separation > distance:
        return Match(0, 0, 1, *nothing)
    return Match(1, 0, 0, np.array([[0, best]]), np.array([separation]))
