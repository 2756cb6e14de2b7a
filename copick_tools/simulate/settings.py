"""Every number of the phantom simulator, with its unit, and the presets ``easy`` and ``hard``.

``easy`` takes dose and defocus from the record of one real tilt series (TS_105_5 of portal dataset 10445: 120
electrons per square angstrom in all) and the contrast that matched the power spectrum of a real tomogram, which is
generous. ``hard`` takes the dose that the portal states (63 in all) and thicker ice, adds decoys that resemble the
ribosome and beta-amylase, and lowers the contrast until a small U-Net scores about what the real phantom data give
(Table 4 of the POPSICLE paper). So ``contrast`` and ``decoys`` are calibrations of difficulty, not constants of nature.

What the presets give is in docs/simulation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from copick_tools.simulate.imaging import ImagingSettings

NOMINAL_VOLUME = 64 * 256 * 256 * 10.0**3  # cubic angstrom that the numbers of copies refer to


@dataclass(frozen=True)
class PhantomSample:
    """What is in the ice: copies in NOMINAL_VOLUME; larger volumes hold proportionally more, crowded ones fewer."""

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


@dataclass(frozen=True)
class PhantomSettings(ImagingSettings, PhantomSample):
    """The sample, then how the microscope sees it. The defaults are the preset ``hard``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_not_negative(["vesicles"])
        self._require_range("vesicle_radius")
        self._require_copies((*self.counts.items(), *self.decoys.items()))


PRESETS: dict[str, PhantomSettings] = {
    "easy": PhantomSettings(
        dose=3.87, thickness=1_500.0, contrast=1.6, decoys={"albumin": 60, "p97": 6, "proteasome-20S": 6}
    ),
    "hard": PhantomSettings(),
}
