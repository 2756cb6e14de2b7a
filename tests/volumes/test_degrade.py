"""Tomograms made worse."""

from __future__ import annotations

import numpy as np
import pytest

from copick_tools.volumes.degrade import IDENTITY, LEVELS, Degradation, degraded


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """Dark blobs on a bright ground, with noise, zyx."""
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[:24, :40, :48]
    blobs = sum(((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 < 25) for a, b, c in ((8, 10, 12), (14, 28, 34)))
    return (100 - 30 * blobs + rng.normal(0, 2, (24, 40, 48))).astype(np.float32)


def test_the_identity_is_the_volume_itself(volume):
    assert degraded(volume, Degradation(IDENTITY), 0) is volume


@pytest.mark.parametrize(("kind", "level"), [(kind, level) for kind, levels in LEVELS.items() for level in levels])
def test_what_each_kind_gives(volume, kind, level):
    worse = degraded(volume, Degradation(kind, level), 3)
    assert worse.shape == volume.shape
    assert worse.dtype == np.float32
    assert np.isfinite(worse).all()
    np.testing.assert_array_equal(worse, degraded(volume, Degradation(kind, level), 3))
    assert not np.array_equal(worse, volume)


@pytest.mark.parametrize("kind", [kind for kind in LEVELS if kind != "invert"])
def test_levels_get_worse(volume, kind):
    """The correlation with the volume falls from level to level, and is positive at the first."""
    found = [
        np.corrcoef(volume.ravel(), degraded(volume, Degradation(kind, level), 0).ravel())[0, 1]
        for level in LEVELS[kind]
    ]
    assert found == sorted(found, reverse=True)
    assert 0.2 < found[0] < 1


def test_inverted_contrast(volume):
    worse = degraded(volume, Degradation("invert", 1), 0)
    assert np.corrcoef(volume.ravel(), worse.ravel())[0, 1] == pytest.approx(-1)


def test_poisson_noise_has_the_mean_that_is_asked_for(volume):
    low, high = np.percentile(volume, (1, 99))
    counts = degraded(volume, Degradation("poisson", 5), 0)
    assert (counts == np.round(counts)).all()
    assert counts.mean() == pytest.approx(5 * np.maximum((volume - low) / (high - low), 0).mean(), rel=0.02)
    assert not np.array_equal(counts, degraded(volume, Degradation("poisson", 5), 1))


def test_resampling_moves_nothing():
    """A linear ramp stays one in the middle: voxel centers are where they were."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32), (64, 64, 64)).copy()
    for kind, axes in (("downsample", (0, 1, 2)), ("anisotropic", (0,))):
        for axis in axes:
            turned = np.moveaxis(ramp, 2, axis)
            low, high = np.percentile(turned, (1, 99))
            back = degraded(turned, Degradation(kind, 5), 0) * (high - low) + low
            middle = (slice(20, 44),) * 3
            np.testing.assert_allclose(back[middle], turned[middle], atol=0.2)


def test_anisotropic_leaves_the_plane_sharp(volume):
    worse = degraded(volume, Degradation("anisotropic", 6), 0)
    along = [np.abs(np.diff(worse, axis=axis)).mean() for axis in range(3)]
    assert along[0] < 0.5 * min(along[1:])


def test_a_wedge_takes_what_tilts_do_not_see(volume):
    """What is in the plane x of the Fourier transform stays, what is near the z axis goes; y has no part in it."""
    worse = degraded(volume, Degradation("wedge", 45), 0)
    spectrum = np.abs(np.fft.fftn(worse))
    z, _, x = np.meshgrid(*(np.fft.fftfreq(side) for side in volume.shape), indexing="ij")
    outside = np.abs(z) > np.abs(x) * 1.01 + 1e-6
    assert spectrum[outside].max() < 1e-3 * spectrum.max()
    low, high = np.percentile(volume, (1, 99))
    inside = np.abs(z) < np.abs(x) * 0.99
    whole = np.abs(np.fft.fftn((volume - low) / (high - low)))
    np.testing.assert_allclose(spectrum[inside], whole[inside], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "level"), [("blurr", 1), ("poisson", 0), ("downsample", 0.5), ("wedge", 95), ("blur", -1)]
)
def test_levels_that_make_no_sense(kind, level):
    with pytest.raises(ValueError, match="Expected"):
        Degradation(kind, level)


def test_a_volume_without_contrast():
    with pytest.raises(ValueError, match="no contrast"):
        degraded(np.ones((4, 4, 4), np.float32), Degradation("blur", 2), 0)
