"""How the microscope sees a sample (300 kV): the tilt series and the image, with units. Simulations inherit it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from copick_tools.errors import UsageError


@dataclass(frozen=True)
class ImagingSettings:
    """The defaults are those of the phantom's preset ``hard``."""

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
        self._require_positive(("tilt_step", "dose", "mean_free_path"))
        self._require_not_negative(entry.name for entry in fields(ImagingSettings))
        self._require(self.tilt_range <= 80, f"tilt_range has to be at most 80 degrees, not {self.tilt_range:g}")
        self._require(
            self.amplitude_contrast <= 1, f"amplitude_contrast is a fraction, not {self.amplitude_contrast:g}"
        )

    def _require_positive(self, names: Iterable[str]) -> None:
        for name in names:
            value = getattr(self, name)
            self._require(0 < value < math.inf, f"{name} has to be positive, not {value:g}")

    def _require_not_negative(self, names: Iterable[str]) -> None:
        for name in names:
            value = getattr(self, name)
            self._require(0 <= value < math.inf, f"{name} can't be negative, not {value:g}")

    def _require_range(self, name: str) -> None:
        low, high = getattr(self, name)
        self._require(0 < low <= high < math.inf, f"{name} has to be a positive range, not {low:g} to {high:g}")

    def _require_copies(self, counts: Iterable[tuple[str, float]]) -> None:
        for name, count in counts:
            self._require(0 <= count < math.inf, f"the number of copies of {name} can't be {count:g}")

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            entries: tuple[Any, ...] = fields(self)
            raise UsageError(message, f"settings: {', '.join(entry.name for entry in entries)}")
