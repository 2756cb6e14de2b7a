"""Weighted back-projection of a tilt series with corrected phases."""

from __future__ import annotations

import numpy as np
from scipy import fft

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.imaging import ImagingSettings
from copick_tools.simulate.optics import Frequencies, contrast_transfer
from copick_tools.simulate.projector import back_project
from copick_tools.types import Floats


def reconstruct(images: Floats, angles: Floats, field: Field, settings: ImagingSettings) -> Floats:
    """The tomogram of the kept volume, float32 zyx; particles are dark (low values).

    images: (tilt, y, x), dark particles; angles: (tilts,) in degrees.
    """
    frequencies = Frequencies.of(images.shape[1:], field.voxel_spacing)
    weights = _weights(frequencies, images.shape[2], field.voxel_spacing, settings)
    filtered = np.empty(images.shape, np.float32)
    for tilt, image in enumerate(images):
        shrink = np.float32(np.cos(np.deg2rad(angles[tilt])))  # trusts the noisier, high tilts less
        filtered[tilt] = fft.irfft2(fft.rfft2(image) * (weights * shrink), s=image.shape)
    return back_project(filtered, angles, field.shape)


def _weights(frequencies: Frequencies, width: int, voxel_spacing: float, settings: ImagingSettings) -> Floats:
    """Phase flip at the nominal defocus x ramp across the tilt axis x Hann window up to Nyquist."""
    flip = np.sign(contrast_transfer(frequencies.square, settings.defocus, settings))
    ramp = np.maximum(frequencies.x * voxel_spacing, 0.5 / width)  # cycles per pixel; keeps some of the mean
    nyquist = 0.5 / voxel_spacing
    hann = 0.5 + 0.5 * np.cos(np.pi * np.minimum(np.sqrt(frequencies.square) / nyquist, 1))
    return (flip * ramp * hann).astype(np.float32)
