"""The truth agrees with what is in the ice."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from copick_tools.errors import UsageError
from copick_tools.simulate import PRESETS
from copick_tools.simulate.canvas import Canvas, Mark
from copick_tools.simulate.densities import load_densities
from copick_tools.simulate.geometry import field_around
from copick_tools.simulate.placement import random_rotations
from copick_tools.simulate.scene import build_scene

LABELS = {
    "apo-ferritin": 1,
    "beta-amylase": 2,
    "beta-galactosidase": 3,
    "ribosome": 4,
    "thyroglobulin": 5,
    "virus-like-particle": 6,
    "membrane": 7,
}
SPACING = 10.012
SETTINGS = PRESETS["hard"]
BARE = replace(SETTINGS, decoys={}, vesicles=0)
FIELD = field_around((48, 96, 112), SPACING, 45)


def scene_of(labels=LABELS, settings=SETTINGS, positions=None, field=FIELD, seed=0):
    return build_scene(field, labels, settings, positions, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def scene():
    return scene_of()


@pytest.mark.parametrize("voxel_spacing", [7.5, 10.012, 15.0])
@pytest.mark.parametrize("name", ["ribosome", "thyroglobulin", "apo-ferritin"])
def test_centers_of_mass_are_where_the_points_are(name, voxel_spacing):
    field = field_around((48, 48, 64), voxel_spacing, 0)
    middle = (np.array([64, 48, 48]) - 1) / 2 * voxel_spacing
    positions = middle + [[3.3, -4.1, 7.7]]
    scene = scene_of(settings=BARE, positions={name: positions}, field=field)
    voxels = np.array(ndimage.center_of_mass(scene.potential)) - field.margin
    assert np.allclose(voxels[::-1] * voxel_spacing, positions[0], atol=voxel_spacing / 5)
    body = np.array(ndimage.center_of_mass(scene.truth.instances == 1))
    assert np.allclose(body[::-1] * voxel_spacing, positions[0], atol=voxel_spacing)


def test_integral_of_the_potential_is_kept():
    density = load_densities(["thyroglobulin"], SPACING)["thyroglobulin"]
    middle = (np.array(FIELD.shape[::-1]) - 1) / 2 * SPACING
    scene = scene_of(settings=BARE, positions={"thyroglobulin": middle[None]})
    assert scene.potential.sum() == pytest.approx(density.potential.sum(), rel=0.02)


def test_rotation_maps_reference_to_particle_in_the_xyz_basis():
    """A blob on the reference's long axis is found at rotation @ axis from the center."""
    density = load_densities(["thyroglobulin"], 10.0)["thyroglobulin"]
    middle = len(density.potential) // 2
    reference = np.argwhere(density.potential > 0)[:, ::-1] - middle  # xyz, voxels
    weights = density.potential[density.potential > 0]
    field = field_around((48, 48, 48), 10.0, 0)
    for rotation in random_rotations(4, np.random.default_rng(1)):
        canvas = Canvas.blank(field)
        canvas.paint_particle(density, np.full(3, 240.0), rotation, Mark(1, 1))
        placed = 24 + reference @ rotation.T + np.array(field.margin)[::-1]
        expected = np.zeros(field.padded)
        np.add.at(expected, tuple(np.round(placed[:, ::-1]).astype(int).T), weights)
        smooth = [ndimage.gaussian_filter(volume, 1) for volume in (expected, canvas.potential)]
        assert np.corrcoef(smooth[0].ravel(), smooth[1].ravel())[0, 1] > 0.97
        wrong = [ndimage.gaussian_filter(rotated(canvas, density, turn), 1) for turn in (rotation.T, np.eye(3))]
        assert max(np.corrcoef(smooth[0].ravel(), other.ravel())[0, 1] for other in wrong) < 0.95


def rotated(canvas, density, rotation):
    other = Canvas.blank(canvas.field)
    other.paint_particle(density, np.full(3, 240.0), rotation, None)
    return other.potential


def test_points_instances_and_labels_agree(scene):
    truth = scene.truth
    assert truth.segmentation.shape == truth.instances.shape == FIELD.shape
    assert truth.segmentation.dtype == np.uint8
    assert truth.instances.dtype == np.uint16
    assert list(truth.points) == [name for name in LABELS if name != "membrane"]
    seen = set()
    for name, points in truth.points.items():
        assert points.trust_orientation
        assert (points.scores == 1).all()
        assert FIELD.keeps(points.positions).all()
        for position, instance in zip(points.positions, points.instance_ids):
            mask = truth.instances == instance
            assert (truth.segmentation[mask] == LABELS[name]).all()
            z, y, x = np.round(position[::-1] / SPACING).astype(int)
            near = mask[max(z - 3, 0) : z + 4, max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
            assert near.any()
            seen.add(int(instance))
    others = set(np.unique(truth.instances)) - seen - {0}
    membranes = np.isin(truth.instances, list(others))
    assert np.array_equal(membranes, truth.segmentation == LABELS["membrane"])
    assert np.array_equal(truth.instances > 0, truth.segmentation > 0)
    assert sum(map(len, truth.points.values())) == len(seen)


def test_every_labeled_particle_centered_in_the_volume_is_in_the_truth(scene):
    for copies in scene.layout.copies:
        kept = copies.positions[FIELD.keeps(copies.positions)]
        if copies.name in LABELS:
            assert np.array_equal(scene.truth.points[copies.name].positions, kept)
        else:
            assert copies.name in SETTINGS.decoys
    assert any(not FIELD.keeps(copies.positions).all() for copies in scene.layout.copies)


def test_what_has_no_label_is_a_decoy(scene):
    few = scene_of(labels={"ribosome": 9})
    assert np.array_equal(few.potential, scene.potential)
    assert list(few.truth.points) == ["ribosome"]
    assert set(np.unique(few.truth.segmentation)) == {0, 9}
    assert np.array_equal(few.truth.points["ribosome"].positions, scene.truth.points["ribosome"].positions)


def test_given_positions_are_kept_in_order_and_may_overlap():
    positions = {"ribosome": np.array([[500.0, 400, 240], [530, 400, 240], [-60, 400, 240]]), "beta-amylase": []}
    scene = scene_of(positions=positions)
    ribosomes = scene.truth.points["ribosome"]
    assert np.array_equal(ribosomes.positions, positions["ribosome"][:2])  # the third is outside
    assert len(np.unique(ribosomes.instance_ids)) == 2
    assert len(scene.truth.points["beta-amylase"]) == len(scene.truth.points["apo-ferritin"]) == 0
    assert scene.truth.points["apo-ferritin"].instance_ids.shape == (0,)


@pytest.mark.parametrize(
    ("positions", "message", "hint"),
    [
        ({"ribosom": [[1, 1, 1]]}, "ribosom", "ribosome"),
        ({"ribosome": [[1, 1]]}, r"\(N, 3\)", "angstrom"),
        ({"ribosome": [[1, 1, np.nan]]}, "finite", "angstrom"),
        ({"ribosome": [[1e5, 1, 1]]}, "lies in the volume", "angstrom"),
    ],
)
def test_impossible_positions_are_errors(positions, message, hint):
    with pytest.raises(UsageError, match=message) as caught:
        scene_of(positions=positions)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("labels", [{"ribosom": 1}, {"ribosome": 0}, {"ribosome": 256}, {"ribosome": 1.5}])
def test_impossible_labels_are_errors(labels):
    with pytest.raises(UsageError):
        scene_of(labels=labels)
