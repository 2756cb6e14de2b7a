"""Several models averaged: slabs of any thickness, channels in any order."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from inference.tiled import Local, noise, tiled, whole

from copick_tools.errors import UsageError
from copick_tools.inference.ensemble import Ensemble


class Given:
    """A predictor of known probabilities, in slabs of a given thickness."""

    def __init__(self, probabilities, depth, objects):
        self.probabilities, self.depth, self.objects = probabilities, depth, objects
        self.voxel_spacing, self.normalize, self.asked = 10.0, 0.0, []

    def slabs(self, volume, *sample):
        self.asked.append(sample)
        for z in range(0, volume.shape[0], self.depth):
            yield z, self.probabilities[:, z : z + self.depth]


def probabilities(seed, channels=3, shape=(11, 4, 5)):
    values = np.random.default_rng(seed).random((channels, *shape))
    return (values / values.sum(0)).astype(np.float16)


@pytest.mark.parametrize("depths", [(1, 1, 1), (3, 4, 11), (2, 5, 7), (16, 16, 16)])
def test_mean_of_slabs_of_any_thickness(depths):
    parts = [probabilities(seed) for seed in range(3)]
    members = [Given(part, depth, {"a": 1, "b": 2}) for part, depth in zip(parts, depths)]
    found = whole(Ensemble.of(members).slabs(np.zeros((11, 4, 5))))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.mean(parts, axis=0, dtype=np.float32).astype(np.float16))


def test_channels_are_known_by_name():
    one, other = probabilities(0), probabilities(1)
    members = [Given(one, 4, {"a": 1, "b": 2}), Given(other, 3, {"b": 2, "a": 1})]
    ensemble = Ensemble.of(members)
    assert list(ensemble.objects) == ["a", "b"]
    expected = (one.astype(np.float32) + other[[0, 2, 1]]) / 2
    np.testing.assert_array_equal(whole(ensemble.slabs(np.zeros((11, 4, 5)))), expected.astype(np.float16))


def test_sample_goes_to_every_member_that_is_asked():
    members = [Given(probabilities(seed), 4, {"a": 1, "b": 2}) for seed in range(2)]
    sample = SimpleNamespace()
    list(Ensemble.of(members).slabs(np.zeros((11, 4, 5)), sample))
    list(Ensemble.of(members).slabs(np.zeros((11, 4, 5))))
    assert [member.asked for member in members] == [[(sample,), ()]] * 2


def test_different_patches_and_rules():
    torch.manual_seed(0)
    volume = noise((20, 17, 16)) + 3
    members = [
        tiled(Local(), (8, 8, 8)),
        tiled(Local(), (6, 10, 8), 0.25, rules="nnunet"),
        tiled(Local(), (16, 16, 16), tta=8),
    ]
    expected = np.mean([whole(member.slabs(volume)).astype(np.float32) for member in members], axis=0)
    np.testing.assert_allclose(whole(Ensemble.of(members).slabs(volume)), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": {"a": 1, "c": 2}}, "different objects: a=1, b=2 and a=1, c=2"),
        ({"objects": {"a": 1}}, "different objects"),
        ({"voxel_spacing": 13.0}, "at 10 and 13 A per voxel"),
    ],
)
def test_what_can_not_be_averaged(change, message):
    members = [Given(probabilities(0), 4, {"a": 1, "b": 2}) for _ in range(2)]
    for key, value in change.items():
        setattr(members[1], key, value)
    with pytest.raises(UsageError, match=message):
        Ensemble.of(members)
