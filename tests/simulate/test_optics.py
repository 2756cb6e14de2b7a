"""Contrast, damage and noise of the images."""

from dataclasses import replace

import numpy as np
import pytest

from copick_tools.errors import UsageError
from copick_tools.simulate import PhantomSettings
from copick_tools.simulate.optics import (
    Frequencies,
    contrast_transfer,
    dose_envelope,
    electrons_per_pixel,
    image_tilts,
    tilt_scheme,
)

SETTINGS = PhantomSettings()
STILL = replace(SETTINGS, jitter=0, defocus_spread=0)


def test_tilts_are_dose_symmetric():
    tilts = tilt_scheme(replace(SETTINGS, tilt_range=6, tilt_step=3, dose=2))
    assert tilts.angles.tolist() == [-6, -3, 0, 3, 6]
    assert tilts.dose_before.tolist() == [8, 4, 0, 2, 6]
    assert len(tilt_scheme(SETTINGS).angles) == 31


def test_transfer_is_the_amplitude_contrast_at_zero_and_flips_after_the_first_zero():
    assert contrast_transfer(np.zeros(1), 22_400, SETTINGS) == pytest.approx(SETTINGS.amplitude_contrast)
    phase_contrast = replace(SETTINGS, amplitude_contrast=0, spherical_aberration=0)
    first_zero = 1 / (0.019687 * 22_400)
    before, after = contrast_transfer(first_zero * np.array([0.99, 1.01]), 22_400, phase_contrast)
    assert before > 0 > after


def test_dose_removes_fine_detail_first():
    square = np.array([1 / 100, 1 / 40, 1 / 20]) ** 2
    envelope = dose_envelope(square, 60)
    assert (np.diff(envelope) < 0).all()
    critical = 0.245 * 0.05**-1.665 + 2.81  # Grant and Grigorieff 2015
    assert envelope[2] == pytest.approx(np.exp(-60 / (2 * critical)))
    assert (dose_envelope(square, 0) == 1).all()


def test_high_tilts_and_thick_ice_lose_electrons():
    counts = electrons_per_pixel(np.array([0.0, 60.0]), 10, replace(SETTINGS, dose=2, thickness=3100))
    assert counts == pytest.approx(200 * np.exp([-1, -2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"thickness": 1e6}, "no electron arrives"), ({"dose": 1e-30}, "no electron"), ({"dose": 1e30}, "too many")],
)
def test_images_that_cannot_be(change, message):
    with pytest.raises(UsageError, match=message):
        images_of(replace(STILL, **change))


def test_frequencies_are_in_inverse_angstrom():
    frequencies = Frequencies.of((8, 8), 10.0)
    assert frequencies.square.shape == (8, 5)
    assert frequencies.square.max() == pytest.approx(2 * 0.05**2)


def images_of(settings, seed=0, projections=None):
    if projections is None:
        projections = disc()
    tilts = tilt_scheme(settings)
    projections = np.repeat(projections[None], len(tilts.angles), axis=0)
    return image_tilts(projections, tilts, 10.0, settings, np.random.default_rng(seed))


def disc():
    y, x = np.indices((48, 64)) - 20
    return np.where(x**2 + y**2 < 36, 20, 0).astype(np.float32)  # volt, summed


def test_potential_is_dark():
    images = images_of(replace(STILL, dose=20, tilt_range=3, thickness=0))
    assert images.dtype == np.float32
    inside = disc() > 0
    for image in images:
        assert image[inside].mean() < image[~inside].mean() - 0.02


@pytest.mark.parametrize("doses", [(1, 4), (4, 16)])
def test_dose_raises_the_signal_to_noise_ratio(doses):
    low, high = (replace(STILL, dose=dose, tilt_range=0) for dose in doses)
    noise = [images_of(settings, projections=np.zeros((64, 64), np.float32)).std() for settings in (low, high)]
    assert noise[0] / noise[1] == pytest.approx(2, rel=0.05)


def test_noise_is_that_of_counted_electrons():
    settings = replace(STILL, tilt_range=0)
    noise = images_of(settings, projections=np.zeros((64, 64), np.float32)).std()
    assert noise == pytest.approx(electrons_per_pixel(np.zeros(1), 10, settings)[0] ** -0.5, rel=0.05)


def test_jitter_moves_images_by_its_angstroms():
    settings = replace(STILL, dose=300, thickness=0, tilt_range=0, jitter=20)
    centers = np.array([center(images_of(settings, seed)[0]) for seed in range(40)])
    assert centers.mean(axis=0) == pytest.approx([20, 20], abs=1)
    assert centers.std(axis=0) == pytest.approx([2, 2], rel=0.3)


def center(image):
    weights = np.where(image < image.min() / 2, -image, 0)
    return np.array([(weights * grid).sum() / weights.sum() for grid in np.indices(image.shape)])
