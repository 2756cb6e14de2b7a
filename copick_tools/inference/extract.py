"""A tomogram through a predictor: what extraction needs of its class probabilities."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from copick_tools.errors import PopsicleError
from copick_tools.inference.ahead import ahead
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Pick
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.extraction import ON_MAPS, Particle
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.peaks import SLOPE
from copick_tools.volumes.probabilities import Probabilities
from copick_tools.volumes.resample import Resampled
from copick_tools.volumes.sample import Sample

log = logging.getLogger("copick_tools")
FINEST, COARSEST = 1 / 32, 4.0  # voxel spacings that are resampled, relative to the model's
SPACING_TOLERANCE = 0.01  # relative; beyond it the input is resampled
Shape = tuple[int, int, int]
MakeSample = Callable[[Shape, float, float], Sample]
"""From a grid (zyx voxels; voxel spacing and position of voxel 0 in angstrom) to where the sample is in it."""


@dataclass(frozen=True)
class Wanted:
    """What to keep of the probabilities.

    floor: least 1 - P(background) of a voxel. maps: labels whose own probability is kept as well where it reaches
    map_floor, for the methods `peaks` and `mean-pool`.
    """

    floor: float
    maps: Collection[int] = ()
    map_floor: float = 1.0

    @classmethod
    def for_picks(cls, settings: Mapping[str, Pick], particles: Sequence[Particle]) -> Wanted:
        """What extraction with these settings, by object, needs."""
        maps, voxels = {}, []
        for particle in particles:
            pick = settings[particle.name]
            if pick.method in ON_MAPS:
                maps[particle.label] = pick.threshold * (SLOPE if pick.method == "peaks" else 1.0)
            else:
                voxels.append(pick.threshold)
        return cls(min(voxels, default=1.0), tuple(maps), min(maps.values(), default=1.0))

    def __or__(self, other: Wanted) -> Wanted:
        """What both need."""
        maps = tuple(sorted({*self.maps, *other.maps}))
        return Wanted(min(self.floor, other.floor), maps, min(self.map_floor, other.map_floor))


@dataclass(frozen=True)
class Prediction:
    """probabilities: zyx. voxel_spacing, origin (position of voxel 0): angstrom. sample: where the sample is, None: anywhere."""

    probabilities: Probabilities
    voxel_spacing: float
    origin: float
    sample: Sample | None = None

    @property
    def shape(self) -> Shape:
        """Voxels along z, y, x."""
        return self.probabilities.shape

    def labels(self, threshold: float, voxel_spacing: float, shape: Shape) -> Volume:
        """The labels on the grid of the tomogram that was predicted. It computes what is sliced.

        threshold: least 1 - P(background). voxel_spacing: angstrom.
        """
        labels = self.probabilities.labels(threshold)
        if self.shape == shape and self.voxel_spacing == voxel_spacing:
            return labels
        return OnGrid(labels, self.voxel_spacing / voxel_spacing, shape)


def predict(
    predictor: Predictor,
    volume: Volume,
    voxel_spacing: float,
    wanted: Wanted,
    where: str,
    sample: MakeSample | None = None,
) -> Prediction:
    """Predict a zyx volume of ``voxel_spacing`` angstrom, resampled if the model was trained at another spacing.

    where: names the tomogram in messages. sample: what lies outside isn't computed.

    Raises PopsicleError for constant or non-finite voxels, for whatever else is a ValueError, whose traceback is logged for
    ``--debug``, and when the device runs out of memory.
    """
    volume, voxel_spacing, origin = on_models_grid(predictor, volume, voxel_spacing, where)
    z, y, x = volume.shape
    with said_where(where):
        inside = sample((z, y, x), voxel_spacing, origin) if sample else None
        probabilities = _collected(predictor, volume, (z, y, x), wanted, inside)
    return Prediction(probabilities, voxel_spacing, origin, inside)


def on_models_grid(
    predictor: Predictor, volume: Volume, voxel_spacing: float, where: str
) -> tuple[Volume, float, float]:
    """A zyx volume as the model sees it, its voxel spacing and the position of its voxel 0, in angstrom.

    Raises PopsicleError where the model was trained at quite another spacing.
    """
    if not FINEST <= voxel_spacing / predictor.voxel_spacing <= COARSEST:
        raise PopsicleError(
            f"{where}: {voxel_spacing:g} A per voxel, but the model was trained at {predictor.voxel_spacing:g}",
            "is the voxel spacing right, and in angstrom?",
        )
    if abs(voxel_spacing / predictor.voxel_spacing - 1) <= SPACING_TOLERANCE:
        return volume, voxel_spacing, 0.0
    log.info("%s: resampled from %g to the model's %g A per voxel", where, voxel_spacing, predictor.voxel_spacing)
    resampled = Resampled(volume, voxel_spacing, predictor.voxel_spacing)
    return resampled, predictor.voxel_spacing, resampled.origin


@contextlib.contextmanager
def said_where(where: str) -> Iterator[None]:
    """Make a PopsicleError that names the tomogram of a ValueError, and of a device that ran out of memory."""
    try:
        yield
    except ValueError as error:
        log.debug("%s:", where, exc_info=True)  # whoever walks runs keeps the message alone
        raise PopsicleError(f"{where}: {error}") from error
    except torch.OutOfMemoryError as error:
        raise PopsicleError(f"{where}: the device ran out of memory", "--device cpu works always") from error


def _collected(
    predictor: Predictor, volume: Volume, shape: Shape, wanted: Wanted, sample: Sample | None
) -> Probabilities:
    labels = list(predictor.objects.values())
    kept = Probabilities(shape, labels, wanted.floor, wanted.maps, wanted.map_floor)
    if not wanted.maps and hasattr(predictor, "likeliest"):  # optional, see Predictor; reduced where it is computed
        for slab in ahead(predictor.likeliest(volume, sample, wanted.floor)):
            kept.add_likeliest(*slab)
    else:
        slabs = predictor.slabs(volume) if sample is None else predictor.slabs(volume, sample)
        for z0, probabilities in ahead(slabs):
            kept.add(z0, probabilities)
    return kept
