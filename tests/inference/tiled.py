"""Small networks, and a predictor around them."""

import numpy as np
import torch

from copick_tools.inference.tiler import Tiled


class Pointwise(torch.nn.Module):
    """Logits that depend on each voxel alone: then tiling must change nothing."""

    def forward(self, x):
        return torch.cat([-x, x, 0.3 * x**2 - 1], dim=1)


class Local(torch.nn.Module):
    """Convolutions, so that windows disagree at their edges."""

    def __init__(self, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Conv3d(4, outputs, 3, padding=1)
        self.calls = []

    def forward(self, x):
        self.calls.append(len(x))
        return 3 * self.second(torch.relu(self.first(x)))


def tiled(network, patch, overlap=0.5, **more):
    return Tiled(network, {"a": 1, "b": 2}, 10.0, 0.0, patch, overlap, **{"batch_size": 3, **more})


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(slabs):
    """Slabs, checked and put together."""
    slabs = [(z, np.asarray(found).copy()) for z, found in slabs]
    assert [z for z, _ in slabs] == np.cumsum([0, *[found.shape[1] for _, found in slabs[:-1]]]).tolist()
    return np.concatenate([found for _, found in slabs], axis=1)
