"""The shipped densities: their mass, their center, any voxel spacing."""

import numpy as np
import pytest
from scipy import ndimage

from copick_tools.errors import UsageError
from copick_tools.simulate.densities import density_names, load_densities

PHANTOM = {"apo-ferritin", "beta-amylase", "beta-galactosidase", "ribosome", "thyroglobulin", "virus-like-particle"}
VOLT_PER_DALTON = 2.5 * 1.21  # volt x cubic angstrom: protein over ice


def test_the_six_phantom_objects_have_a_density():
    assert set(density_names()) >= PHANTOM


@pytest.mark.parametrize("voxel_spacing", [5.0, 10.012, 13.48, 20.0])
@pytest.mark.parametrize(("name", "kilodalton"), [("apo-ferritin", 447), ("beta-amylase", 224), ("thyroglobulin", 532)])
def test_integral_is_the_mass_at_any_voxel_spacing(name, kilodalton, voxel_spacing):
    density = load_densities([name], voxel_spacing)[name]
    integral = density.potential.sum(dtype=float) * voxel_spacing**3
    assert integral == pytest.approx(kilodalton * 1000 * VOLT_PER_DALTON, rel=0.02)


@pytest.mark.parametrize("voxel_spacing", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("name", sorted(PHANTOM))
def test_center_of_mass_is_the_middle_voxel(name, voxel_spacing):
    density = load_densities([name], voxel_spacing)[name]
    middle = (np.array(density.potential.shape) - 1) / 2
    assert np.allclose(ndimage.center_of_mass(density.potential), middle, atol=0.1)
    assert density.potential.dtype == np.float32
    assert density.potential.min() >= 0


def test_body_is_solid_and_within_the_radius():
    for density in load_densities(PHANTOM, 10.0).values():
        body = density.body > 0.5
        half = len(body) // 2
        distances = np.linalg.norm(np.argwhere(body) - half, axis=1) * 10
        assert distances.max() <= density.radius
        assert np.array_equal(ndimage.binary_fill_holes(body), body)
    shell = load_densities(["virus-like-particle"], 10.0)["virus-like-particle"]
    assert shell.body[half_of(shell)] > 0.5  # although its potential is hollow there


def half_of(density):
    return (len(density.body) // 2,) * 3


def test_unknown_density_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        load_densities(["ribosom"], 10.0)
    assert "ribosome" in str(caught.value.hint)
