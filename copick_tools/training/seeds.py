"""Every random draw from (seed, purpose, step, sample): no generator state to save, so a resumed run repeats exactly."""

from __future__ import annotations

import zlib

import numpy as np


def seed_of(seed: int, purpose: str, step: int = 0, sample: int = 0) -> int:
    """A 63-bit seed.

    >>> seed_of(0, "patch", 1, 2) == seed_of(0, "patch", 1, 2) != seed_of(0, "patch", 2, 1)
    True
    """
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), step, sample])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, purpose: str, step: int = 0, sample: int = 0) -> np.random.Generator:
    """A generator for one draw."""
    return np.random.default_rng(seed_of(seed, purpose, step, sample))
