"""Every number of the organelle simulator's sample, with its unit, and the presets ``easy`` and ``hard``.

Sizes are those of textbooks, at their lower end where a field of 0.1 x 0.3 x 0.3 micrometer would hold one object
alone: synaptic to endosomal vesicles, thin mitochondria. Dose, contrast and crowding are calibrations of difficulty,
not constants of nature. What the presets give is in docs/simulation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from copick_tools.errors import UsageError
from copick_tools.simulate.imaging import ImagingSettings

NOMINAL_VOLUME = 48 * 160 * 160 * 20.0**3  # cubic angstrom that the numbers of organelles refer to

Range = tuple[float, float]  # smallest and largest


@dataclass(frozen=True)
class OrganelleSample:
    """What is in the cell. Radii are those of the outer edge, membranes included."""

    vesicles: float = 30  # in NOMINAL_VOLUME that nothing larger takes
    vesicle_radius: Range = (150.0, 350.0)  # angstrom
    vesicle_eccentricity: float = 0.18  # largest relative deviation of a half-axis
    clustered: float = 0.8  # fraction of the vesicles in clusters
    cluster_size: tuple[int, int] = (3, 8)
    dense_core: float = 0.25  # fraction of the vesicles

    mitochondria: float = 2.2  # in NOMINAL_VOLUME
    mitochondrion_radius: Range = (300.0, 420.0)  # angstrom
    mitochondrion_length: Range = (1_050.0, 1_500.0)  # angstrom, from pole to pole
    touching: float = 0.3  # fraction of the mitochondria that touch an earlier one, where there is room

    networks: tuple[int, int] = (1, 2)  # fewest and most of them
    network_extent: Range = (1_200.0, 2_200.0)  # angstrom along x and y
    tube_radius: Range = (105.0, 150.0)  # angstrom

    bacterium: float = 0.4  # fraction of the runs that show one
    bacterium_radius: Range = (2_400.0, 4_000.0)  # angstrom
    bacterium_share: Range = (0.2, 0.45)  # of the field's width, which it takes from its side or corner
    periplasm: Range = (200.0, 250.0)  # angstrom between the middles of the two membranes

    crowding: float = 0.16  # volt, mean excess potential of the cytosol's small molecules
    granularity: float = 0.6  # relative standard deviation of the crowd from voxel to voxel
    particles: Mapping[str, float] = field(  # in NOMINAL_VOLUME of cytosol, unlabeled
        default_factory=lambda: {"fas": 6, "p97": 20, "proteasome-26S": 10, "ribosome": 40, "rubisco": 20}
    )
    bacterial_particles: Mapping[str, float] = field(  # in NOMINAL_VOLUME of bacterial cytoplasm, unlabeled
        default_factory=lambda: {"ribosome-70S": 350}
    )


@dataclass(frozen=True)
class OrganelleSettings(ImagingSettings, OrganelleSample):
    """The sample, then how the microscope sees it. The defaults are the preset ``hard``."""

    tilt_range: float = 60.0
    defocus: float = 40_000.0
    dose: float = 1.7
    contrast: float = 0.9
    thickness: float = 2_000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_not_negative(("vesicles", "mitochondria", "crowding", "granularity"))
        for name in ("vesicle_radius", "mitochondrion_radius", "mitochondrion_length", "tube_radius", "network_extent"):
            self._require_range(name)
        for name in ("bacterium_radius", "bacterium_share", "periplasm"):
            self._require_range(name)
        for name in ("vesicle_eccentricity", "clustered", "dense_core", "touching", "bacterium"):
            value = getattr(self, name)
            self._require(0 <= value <= 1, f"{name} is a fraction, not {value:g}")
        for name, least in (("cluster_size", 1), ("networks", 0)):
            low, high = getattr(self, name)
            self._require(least <= low <= high, f"{name} has to be a range from {least} up, not {low} to {high}")
        self._require_copies((*self.particles.items(), *self.bacterial_particles.items()))

    def check_spacing(self, voxel_spacing: float) -> None:
        """Raise UsageError for voxels (angstrom) beside which the thinnest objects are nothing."""
        thinnest = min(self.tube_radius[0], self.vesicle_radius[0], self.mitochondrion_radius[0])
        if voxel_spacing > thinnest:
            raise UsageError(
                f"voxels of {voxel_spacing:g} A are coarser than what is simulated", f"at most {thinnest:g} A"
            )


ORGANELLE_PRESETS: dict[str, OrganelleSettings] = {
    "easy": OrganelleSettings(dose=2.9, contrast=1.6, thickness=1_000.0),
    "hard": OrganelleSettings(),
}
