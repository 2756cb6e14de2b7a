"""From projected potential to counted electrons: phase contrast, radiation damage, shifts, shot noise (300 kV)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from copick_tools.errors import UsageError
from copick_tools.simulate.imaging import ImagingSettings
from copick_tools.types import Floats

WAVELENGTH = 0.019687  # angstrom, electrons of 300 kV
INTERACTION = 6.526e-4  # radian per volt and angstrom, electrons of 300 kV
DARKEST = 0.05  # of the mean; intensities below it are clipped
MOST = 1e15  # electrons in a pixel; more can't be counted


@dataclass(frozen=True)
class Tilts:
    """angles: (N,) in degrees, ascending; dose_before: (N,) electrons per square angstrom, before each tilt."""

    angles: Floats
    dose_before: Floats


def tilt_scheme(settings: ImagingSettings) -> Tilts:
    """Dose-symmetric: from 0 outward, to both sides in turn (Hagen, Wan and Briggs 2017)."""
    steps = int(settings.tilt_range / settings.tilt_step + 1e-6)
    angles = np.arange(-steps, steps + 1) * settings.tilt_step
    turn = np.empty(len(angles))
    turn[np.lexsort((angles < 0, np.abs(angles)))] = np.arange(len(angles))
    return Tilts(angles, turn * settings.dose)


@dataclass(frozen=True)
class Frequencies:
    """Of a real Fourier transform: y (n, 1) and x (1, m), in 1 / angstrom; square is the squared radius (n, m)."""

    y: Floats
    x: Floats
    square: Floats

    @classmethod
    def of(cls, shape: tuple[int, ...], voxel_spacing: float) -> Frequencies:
        """For images of ``shape`` (y, x) in pixels of ``voxel_spacing`` angstrom."""
        y = fft.fftfreq(shape[0], voxel_spacing).astype(np.float32)[:, None]
        x = fft.rfftfreq(shape[1], voxel_spacing).astype(np.float32)[None]
        return cls(y, x, y**2 + x**2)


def contrast_transfer(square: Floats, defocus: float, settings: ImagingSettings) -> Floats:
    """sin(chi) with amplitude contrast; positive where potential turns dark (Williams and Carter; Rohou and Grigorieff 2015).

    square: squared frequency in 1 / angstrom^2; defocus: angstrom, underfocus positive.
    """
    spherical = settings.spherical_aberration * 1e7 * WAVELENGTH**3
    chi = np.pi * WAVELENGTH * defocus * square - 0.5 * np.pi * spherical * square**2
    return np.sin(chi + np.arcsin(settings.amplitude_contrast))


def dose_envelope(square: Floats, dose: float) -> Floats:
    """What ``dose`` (electrons per square angstrom) leaves of the amplitudes (Grant and Grigorieff 2015, 300 kV).

    square: squared frequency in 1 / angstrom^2.
    """
    frequency = np.sqrt(np.maximum(square, 1e-6))
    critical = 0.245 * frequency**-1.665 + 2.81
    return np.exp(-dose / (2 * critical))


def image_tilts(
    projections: Floats, tilts: Tilts, voxel_spacing: float, settings: ImagingSettings, rng: np.random.Generator
) -> Floats:
    """Electron images, relative to their mean, float32 (tilt, y, x); particles are dark.

    projections: float32 (tilt, y, x), potential summed over voxels along the beam, in volt.
    """
    defocus_rng, shift_rng, noise_rng = rng.spawn(3)
    defocus = settings.defocus * (1 + settings.defocus_spread * defocus_rng.standard_normal(len(tilts.angles)))
    shifts = settings.jitter * shift_rng.standard_normal((len(tilts.angles), 2))
    frequencies = Frequencies.of(projections.shape[1:], voxel_spacing)
    electrons = electrons_per_pixel(tilts.angles, voxel_spacing, settings)
    images = np.empty_like(projections)
    for tilt, phase in enumerate(projections * np.float32(voxel_spacing * INTERACTION * settings.contrast)):
        dose = tilts.dose_before[tilt] + settings.dose / 2
        transfer = contrast_transfer(frequencies.square, defocus[tilt], settings)
        transfer *= dose_envelope(frequencies.square, dose) * np.exp(-settings.b_factor / 4 * frequencies.square)
        intensity = 1 - 2 * _filtered(phase, transfer * _shift(frequencies, shifts[tilt]))
        counts = noise_rng.poisson(np.maximum(intensity, DARKEST) * electrons[tilt])
        if not counts.any():
            raise UsageError(f"no electron arrives at {tilts.angles[tilt]:g} degrees", "more dose, or thinner ice")
        images[tilt] = counts / counts.mean() - 1
    return images


def electrons_per_pixel(angles: Floats, voxel_spacing: float, settings: ImagingSettings) -> Floats:
    """(tilts,): expected counts; inelastically scattered electrons are lost, more of them at high tilts.

    angles: (tilts,) in degrees; voxel_spacing: angstrom.
    """
    path = settings.thickness / np.cos(np.deg2rad(angles))
    electrons: Floats = settings.dose * voxel_spacing**2 * np.exp(-path / settings.mean_free_path)
    if electrons.max() > MOST:
        raise UsageError(f"{electrons.max():g} electrons in a pixel of a tilt are too many", f"at most {MOST:g}")
    return electrons


def _filtered(image: Floats, transfer: Floats) -> Floats:
    return fft.irfft2(fft.rfft2(image) * transfer, s=image.shape)


def _shift(frequencies: Frequencies, shift: Floats) -> Floats:
    """The phases that move an image by ``shift`` (y, x) in angstrom."""
    return np.exp(-2j * np.pi * (frequencies.y * np.float32(shift[0]) + frequencies.x * np.float32(shift[1])))
