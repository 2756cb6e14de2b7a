"""On a CUDA device the same comes out as on a CPU."""

import numpy as np
import pytest
import torch
from inference.tiled import Local, noise, tiled, whole

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("options", [{}, {"tta": 4}, {"sums": "float32"}, {"bf16": True}, {"compile": True}])
def test_equals_a_cpu(options):
    volume = noise((40, 50, 60))
    expected = whole(tiled(Local(), (16, 16, 16), **{**options, "bf16": False, "compile": False}).slabs(volume))
    found = whole(tiled(Local(), (16, 16, 16), device=CUDA, **options).slabs(volume))
    np.testing.assert_allclose(found, expected, atol=0.05 if options.get("bf16") else 5e-3)


def test_sums_on_the_host(monkeypatch):
    volume = noise((40, 50, 60))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    found = whole(tiled(Local(), (16, 16, 16), device=CUDA).slabs(volume))
    np.testing.assert_allclose(found, whole(tiled(Local(), (16, 16, 16)).slabs(volume)), atol=5e-3)


def test_likeliest():
    volume = noise((40, 50, 60))
    for one, other in zip(
        zip(*tiled(Local(), (16, 16, 16), device=CUDA).likeliest(volume)),
        zip(*tiled(Local(), (16, 16, 16)).likeliest(volume)),
    ):
        if isinstance(one[0], np.ndarray):
            assert (np.abs(np.concatenate(one).astype(float) - np.concatenate(other)) > 5e-3).mean() < 0.01
