"""The field around a volume."""

import numpy as np
import pytest
from scipy.fft import next_fast_len

from copick_tools.errors import UsageError
from copick_tools.simulate.geometry import REACH, field_around


@pytest.mark.parametrize("shape", [(64, 256, 256), (184, 630, 630), (16, 64, 65), (1, 1, 1)])
def test_margins_hold_the_tilted_view_and_fourier_transform_fast(shape):
    field = field_around(shape, 10.0, 45)
    nz, ny, nx = field.padded
    assert nz == shape[0]
    assert field.margin[1] >= REACH / 10
    assert field.margin[2] >= REACH / 10 + shape[0] / 2
    assert next_fast_len(ny) == ny
    assert next_fast_len(nx) == nx


def test_a_field_keeps_what_lies_in_a_voxel_of_the_volume():
    field = field_around((10, 20, 30), 10.0, 0)
    assert field.keeps(np.array([[0, 0, 0], [290, 190, 90], [294.9, 194.9, 94.9], [-4.9, 0, 0]])).all()
    assert not field.keeps(np.array([[295, 0, 0], [0, 195, 0], [0, 0, 95], [-5.1, 0, 0]])).any()


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (8.5, 8, 8), (8, -8, 8)])
def test_shape_has_to_be_three_positive_integers(shape):
    with pytest.raises(UsageError, match="three positive integers"):
        field_around(shape, 10.0, 45)


@pytest.mark.parametrize("voxel_spacing", [0, -10, float("nan"), float("inf")])
def test_voxel_spacing_has_to_be_positive(voxel_spacing):
    with pytest.raises(UsageError, match="voxel spacing"):
        field_around((8, 8, 8), voxel_spacing, 45)
