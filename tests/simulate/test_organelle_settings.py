"""The numbers of the organelles, and their limits."""

from dataclasses import replace

import pytest

from copick_tools.errors import UsageError
from copick_tools.simulate.organelles import ORGANELLE_PRESETS, OrganelleSettings


def test_the_defaults_are_the_hard_preset():
    assert ORGANELLE_PRESETS["hard"] == OrganelleSettings()
    easy, hard = ORGANELLE_PRESETS["easy"], ORGANELLE_PRESETS["hard"]
    assert easy.dose > hard.dose
    assert easy.contrast > hard.contrast


@pytest.mark.parametrize(
    "change",
    [
        {"dose": 0},
        {"tilt_range": 85},
        {"vesicles": -1},
        {"crowding": float("nan")},
        {"vesicle_radius": (300, 200)},
        {"tube_radius": (0, 100)},
        {"bacterium": 1.5},
        {"clustered": -0.1},
        {"cluster_size": (0, 3)},
        {"networks": (2, 1)},
        {"particles": {"ribosome": -1}},
    ],
)
def test_impossible_settings_are_errors(change):
    name = next(iter(change))
    with pytest.raises(UsageError, match="copies" if name == "particles" else name):
        replace(OrganelleSettings(), **change)
