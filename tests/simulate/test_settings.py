"""The numbers of the physics, and their limits."""

from dataclasses import replace

import pytest

from copick_tools.errors import UsageError
from copick_tools.simulate import PRESETS, PhantomSettings


def test_the_defaults_are_the_hard_preset():
    assert PRESETS["hard"] == PhantomSettings()
    assert PRESETS["easy"] != PRESETS["hard"]


@pytest.mark.parametrize(
    "change",
    [
        {"dose": 0},
        {"tilt_step": 0},
        {"tilt_range": 85},
        {"thickness": -1},
        {"amplitude_contrast": 2},
        {"vesicle_radius": (300, 200)},
        {"counts": {"ribosome": -1}},
        {"dose": float("nan")},
        {"dose": float("inf")},
        {"defocus": -1},
    ],
)
def test_impossible_settings_are_errors(change):
    with pytest.raises(UsageError, match=next(iter(change)).split("_")[0] if "counts" not in change else "copies"):
        replace(PhantomSettings(), **change)
