"""From candidates to picks: scores calibrated, too small, too large and too unsure ones left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from copick_tools.recipes.recipe import Pick
from copick_tools.recipes.thresholds import ObjectSetting
from copick_tools.types import Floats, Points
from copick_tools.volumes.coordinates import to_angstrom
from copick_tools.volumes.extraction import Extraction, Found, Particle


@dataclass(frozen=True)
class Grid:
    """Where voxels are. shape: zyx. voxel_spacing, origin (position of voxel 0): angstrom."""

    shape: tuple[int, ...]
    voxel_spacing: float
    origin: float = 0.0


def extractions(settings: Mapping[str, Pick]) -> dict[str, Extraction]:
    """How to extract each object."""
    return {name: Extraction(s.method, s.threshold, s.merge, s.smoothing, s.bandwidth) for name, s in settings.items()}


def volume_fractions(found: Found, particle: Particle, voxel_spacing: float) -> Floats:
    """(N,) volumes of candidates as fractions of a whole particle: the ball that was painted, else what the data say."""
    whole = found.expected if particle.ball is None else ball_voxels(particle.ball, voxel_spacing)
    return np.asarray(found.volumes / whole)


def ball_voxels(radius: float, voxel_spacing: float) -> float:
    """Voxels in a ball. radius, voxel_spacing: angstrom."""
    return float(4 / 3 * np.pi * (radius / voxel_spacing) ** 3)


def chosen(
    candidates: Mapping[str, Found], particles: Sequence[Particle], settings: Mapping[str, Pick], voxel_spacing: float
) -> dict[str, Found]:
    """The candidates that are picks, their scores calibrated, best first."""
    return {p.name: _chosen(candidates[p.name], p, settings[p.name], voxel_spacing) for p in particles}


def _chosen(found: Found, particle: Particle, setting: Pick, voxel_spacing: float) -> Found:
    calibration = setting.calibration if isinstance(setting, ObjectSetting) else None
    scores = found.scores if calibration is None else np.clip(calibration.apply(found.scores), 0, 1)
    fractions = volume_fractions(found, particle, voxel_spacing)
    largest = inf if setting.max_volume is None else setting.max_volume
    good = (scores >= setting.min_score) & (fractions >= setting.min_volume) & (fractions <= largest)
    return replace(found, scores=scores).take(good)


def points(found: Found, grid: Grid, *, numbered: bool = False) -> Points:
    """Picks, xyz in angstrom. numbered: with instance ids, which count from 1."""
    picks = Points.at(to_angstrom(found.centers, grid.voxel_spacing, grid.origin), found.scores)
    ids = np.arange(1, len(picks) + 1) if numbered else None
    return replace(picks, instance_ids=ids, volumes=found.volumes * grid.voxel_spacing**3)
