"""On a CUDA device the same comes out as on a CPU."""

import numpy as np
import pytest
import torch
from inference.tiled import Local, noise, tiled, whole

from copick_tools.inference import tiler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
CUDA = torch.device("cuda")


# torch.compile imports a torch module that uses what torch deprecates
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"tta": 4}, {"sums": "float32"}, {"bf16": True}, {"compile": True}])
def test_equals_a_cpu(options):
    volume = noise((40, 50, 60))
    expected = whole(tiled(Local(), (16, 16, 16), **{**options, "bf16": False, "compile": False}).slabs(volume))
    found = whole(tiled(Local(), (16, 16, 16), device=CUDA, **options).slabs(volume))
    np.testing.assert_allclose(found, expected, atol=0.05 if options.get("bf16") else 5e-3)


class Late(Local):
    """Has its numbers a good while after it returns, as far as the host can tell."""

    def forward(self, x):
        torch.cuda._sleep(10**8)
        return super().forward(x)


@pytest.mark.parametrize("tta", [1, 2])
def test_sums_on_the_host_wait_for_the_device(monkeypatch, tta):
    volume = noise((20, 24, 28))
    expected = whole(tiled(Local(), (16, 16, 16), tta=tta).slabs(volume))
    monkeypatch.setattr(tiler, "home_of_sums", lambda device, size: torch.device("cpu"))
    found = whole(tiled(Late(), (16, 16, 16), tta=tta, device=CUDA).slabs(volume))
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_sums_on_the_host(monkeypatch):
    volume = noise((40, 50, 60))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    found = whole(tiled(Local(), (16, 16, 16), device=CUDA).slabs(volume))
    np.testing.assert_allclose(found, whole(tiled(Local(), (16, 16, 16)).slabs(volume)), atol=5e-3)


@pytest.mark.parametrize("floor", [0.0, 0.7])
def test_likeliest(monkeypatch, floor):
    """The same as `slabs` says on the same device, to the bit; and as a CPU says where that isn't a close call."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    volume = noise((40, 50, 60))
    predictor = tiled(Local(), (16, 16, 16), device=CUDA)
    probabilities, parts = whole(predictor.slabs(volume)), list(predictor.likeliest(volume, floor=floor))
    labels, certainty, objectness = (np.concatenate([part[n] for part in parts]) for n in (1, 2, 3))
    np.testing.assert_array_equal(objectness, (1 - probabilities[0].astype(np.float32)).astype(np.float16))
    kept = objectness >= floor
    np.testing.assert_array_equal(labels, (1 + probabilities[1:].argmax(axis=0)) * kept)
    np.testing.assert_array_equal(certainty, probabilities[1:].max(axis=0) * kept)

    expected = whole(tiled(Local(), (16, 16, 16)).slabs(volume)).astype(np.float32)
    clear = (np.abs(expected[1] - expected[2]) > 0.02) & (np.abs(1 - expected[0] - floor) > 0.01)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(
        labels[clear], ((1 + expected[1:].argmax(axis=0)) * (1 - expected[0] >= floor))[clear]
    )
