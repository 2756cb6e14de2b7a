"""What a predictor has to have, and what becomes of its errors."""

import logging

import numpy as np
import pytest
import torch
from inference.tiled import Local, noise, tiled

from copick_tools.errors import PopsicleError
from copick_tools.inference.extract import Wanted, predict


class Own:
    """A family of a user's own: it has `slabs` and no more."""

    objects, voxel_spacing, normalize = {"a": 1, "b": 2}, 10.0, 0.0

    def __init__(self, inner, error=None):
        self.inner, self.error = inner, error

    def slabs(self, volume):
        if self.error:
            raise self.error
        return self.inner.slabs(volume)


def test_slabs_alone_say_the_same():
    inner, volume = tiled(Local(), (8, 8, 8)), noise((12, 14, 16))
    one, other = (predict(p, volume, 10.0, Wanted(0.5), "here").probabilities for p in (inner, Own(inner)))
    for name in ("likeliest", "certainty", "objectness"):
        np.testing.assert_array_equal(getattr(one, name)[:, :, :], getattr(other, name)[:, :, :])


def test_a_sample_is_passed_only_where_there_is_one():
    class Half:
        def rows(self, y, x):
            return 0, 6

    volume, asked = noise((12, 14, 16)), []

    class Aware(Own):
        def slabs(self, volume, sample=None):
            asked.append(sample)
            return self.inner.slabs(volume, sample)

    inner, half = tiled(Local(), (8, 8, 8)), Half()
    found = predict(Aware(inner), volume, 10.0, Wanted(0.0), "here", lambda *grid: half)
    assert asked == [half]
    assert not found.probabilities.objectness[6:, :, :].any()
    assert found.sample is half
    assert predict(Own(inner), volume, 10.0, Wanted(0.0), "here").sample is None


def test_value_errors_keep_their_traceback(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("copick_tools"), "propagate", True)
    cause = ValueError("operands could not be broadcast")
    with caplog.at_level(logging.DEBUG, "copick_tools"), pytest.raises(PopsicleError, match="here: operands") as raised:
        predict(Own(None, cause), noise((4, 4, 4)), 10.0, Wanted(0.5), "here")
    assert raised.value.__cause__ is cause
    assert "in slabs" in caplog.text


def test_out_of_memory():
    with pytest.raises(PopsicleError, match="out of memory"):
        predict(Own(None, torch.OutOfMemoryError("no")), noise((4, 4, 4)), 10.0, Wanted(0.5), "here")
