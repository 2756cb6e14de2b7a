"""Every number of the phantom simulator, with its unit, and the presets ``easy`` and ``hard``.

``easy`` takes dose and defocus from the record of one real tilt series (TS_105_5 of portal dataset 10445: 120
electrons per square angstrom in all) and the contrast that matched the power spectrum of a real tomogram, which is
generous. ``hard`` takes the dose that the portal states (63 in all) and thicker ice, adds decoys that resemble the
ribosome and beta-amylase, and lowers the contrast until a small U-Net scores about what the real phantom data give
(Table 4 of the POPSICLE paper). So ``contrast`` and ``decoys`` are calibrations of difficulty, not constants of nature.

What the presets give is in docs/simulation.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from copick_tools.errors import UsageError

NOMINAL_VOLUME = 64 * 256 * 256 * 10.0**3  # cubic angstrom that the numbers of copies refer to


@dataclass(frozen=True)
class PhantomSettings:
    """What is in the ice, and how the microscope sees it (300 kV). The defaults are the preset ``hard``."""

    # The sample: copies in NOMINAL_VOLUME; larger volumes hold proportionally more, crowded ones fewer.
    counts: Mapping[str, float] = field(
        default_factory=lambda: {
            "apo-ferritin": 24,
            "beta-amylase": 8,
            "beta-galactosidase": 10,
            "ribosome": 22,
            "thyroglobulin": 22,
            "virus-like-particle": 10,
        }
    )
    decoys: Mapping[str, float] = field(  # unlabeled; hsp90 looks like beta-amylase, 70S much like the ribosome
        default_factory=lambda: {
            "albumin": 60,
            "hsp90": 12,
            "p97": 6,
            "proteasome-20S": 6,
            "proteasome-26S": 6,
            "ribosome-70S": 20,
        }
    )
    vesicles: float = 3  # lipid vesicles in NOMINAL_VOLUME
    vesicle_radius: tuple[float, float] = (180.0, 420.0)  # angstrom, middle of the bilayer, smallest and largest

    # The tilt series
    tilt_range: float = 45.0  # degrees to either side
    tilt_step: float = 3.0  # degrees
    dose: float = 2.03  # electrons per square angstrom and tilt
    jitter: float = 3.0  # angstrom, standard deviation of the residual shift of a tilt along x and along y

    # The image
    defocus: float = 22_400.0  # angstrom, underfocus
    defocus_spread: float = 0.03  # relative standard deviation from tilt to tilt, unknown to the reconstruction
    spherical_aberration: float = 2.7  # millimeter
    amplitude_contrast: float = 0.14  # fraction
    b_factor: float = 60.0  # square angstrom, residual motion within a tilt
    contrast: float = 0.55  # factor on the potential, 1 being the textbook value
    thickness: float = 3_000.0  # angstrom of ice that electrons are lost in, untilted
    mean_free_path: float = 3_100.0  # angstrom, inelastic, in ice

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            _require(0 < value < math.inf, f"{name} has to be positive, not {value:g}")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"{name} can't be negative, not {value:g}")
        _require(self.tilt_range <= 80, f"tilt_range has to be at most 80 degrees, not {self.tilt_range:g}")
        _require(self.amplitude_contrast <= 1, f"amplitude_contrast is a fraction, not {self.amplitude_contrast:g}")
        low, high = self.vesicle_radius
        _require(0 < low <= high < math.inf, f"vesicle_radius has to be a positive range, not {low:g} to {high:g}")
        for name, count in (*self.counts.items(), *self.decoys.items()):
            _require(0 <= count < math.inf, f"the number of copies of {name} can't be {count:g}")


_POSITIVE = ("tilt_step", "dose", "mean_free_path")
_NOT_NEGATIVE = (
    "vesicles",
    "tilt_range",
    "jitter",
    "defocus",
    "defocus_spread",
    "spherical_aberration",
    "amplitude_contrast",
    "b_factor",
    "contrast",
    "thickness",
)


def _require(condition: bool, message: str) -> None:
    if not condition:
        names = ", ".join(entry.name for entry in fields(PhantomSettings))
        raise UsageError(message, f"settings of the phantom: {names}")


PRESETS: dict[str, PhantomSettings] = {
    "easy": PhantomSettings(
        dose=3.87, thickness=1_500.0, contrast=1.6, decoys={"albumin": 60, "p97": 6, "proteasome-20S": 6}
    ),
    "hard": PhantomSettings(),
}
