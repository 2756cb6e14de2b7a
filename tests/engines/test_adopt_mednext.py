"""MedNeXt as its authors write it, which copick-torch and Octopi train in nnU-Net's trainer, and as MONAI does."""

import numpy as np
import pytest
import torch
from foreign import alone, nnunet_document, probabilities, shaken
from monai.networks.blocks.mednext_block import MedNeXtBlock, MedNeXtDownBlock, MedNeXtOutBlock, MedNeXtUpBlock
from monai.networks.nets.mednext import MedNeXt

from copick_tools.engines import registry
from copick_tools.engines.adopt.adopt import adopt
from copick_tools.errors import FormatError
from copick_tools.training.checkpoint import read
from copick_tools.workflows.adopt import stated


class Authors(torch.nn.Module):
    """MedNeXt by the names of its authors' code. widening: of each of the nine stages, theirs to go down as the next one."""

    def __init__(self, features: int, outputs: int, widening: list[int]) -> None:
        super().__init__()
        self.stem = torch.nn.Conv3d(1, features, 1)
        for level in range(4):
            width, other = features << level, 8 - level
            same = {"kernel_size": 3, "use_residual_connection": True}
            for name, ratio in ((f"enc_block_{level}", widening[level]), (f"dec_block_{level}", widening[other])):
                setattr(self, name, torch.nn.Sequential(*[MedNeXtBlock(width, width, ratio, **same) for _ in range(2)]))
            setattr(self, f"down_{level}", MedNeXtDownBlock(width, 2 * width, widening[level + 1], **same))
            setattr(self, f"up_{level}", MedNeXtUpBlock(2 * width, width, widening[other], **same))
            setattr(self, f"out_{level}", MedNeXtOutBlock(width, outputs, "3d"))
        wide = features << 4
        self.bottleneck = torch.nn.Sequential(*[MedNeXtBlock(wide, wide, widening[4], **same) for _ in range(2)])
        self.out_4 = MedNeXtOutBlock(wide, outputs, "3d")
        self.dummy_tensor = torch.nn.Parameter(torch.tensor([1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, before = self.stem(x), []
        for level in range(4):
            before.append(getattr(self, f"enc_block_{level}")(x))
            x = getattr(self, f"down_{level}")(before[-1])
        x = self.bottleneck(x)
        for level in (3, 2, 1, 0):
            x = getattr(self, f"dec_block_{level}")(before[level] + getattr(self, f"up_{level}")(x))
        return self.out_0(x)


@pytest.mark.parametrize(
    ("widening", "family"),
    [([2, 3, 4, 4, 4, 4, 4, 3, 2], "copick_tools.engines.adopted"), ([2] * 9, "mednext")],
)
def test_mednext_as_its_authors_name_it(widening, family, shared_project, tmp_path):
    network = shaken(Authors(4, 3, widening))
    document = nnunet_document(network, trainer="nnUNetTrainerMedNeXtB_kernel3", patch_size=[32, 32, 32])
    (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    card, _ = read(out)
    assert card.recipe.family == family
    volume = np.random.default_rng(0).normal(3, 2, (32, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        voxels = torch.from_numpy((volume - volume.mean()) / volume.std())[None, None]
        expected = torch.softmax(network(voxels), 1)[0].numpy()
    predictor = registry.load(out, "cpu")
    assert predictor.rules == "nnunet"
    np.testing.assert_allclose(probabilities(predictor, volume), expected, atol=2e-3)


def test_mednext_of_the_authors_counts_as_theirs():
    from copick_tools.engines import adopted, mednext
    from copick_tools.engines.adopt import networks as adopt_networks

    model = mednext.Model()
    other = adopted.Model(network="MedNeXt-MIC", arguments=adopt_networks._arguments(model))
    dummy = 1
    assert sum(p.numel() for p in adopted.build(other, 7).parameters()) + dummy == 10_533_220  # create_mednextv1_base


def test_mednext_of_monai(shared_project, tmp_path):
    network = MedNeXt(3, 4, 1, 3, (2, 3, 4, 4), (4, 4, 3, 2), 4, 3, deep_supervision=True, use_residual_connection=True)
    document = nnunet_document(network, trainer="nnUNetTrainerMedNeXt", patch_size=[32, 32, 32])
    (out,) = adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
    card, _ = read(out)
    assert (card.recipe.family, card.recipe.model["expansion"]) == ("mednext", [2, 3, 4, 4, 4])
    assert registry.load(out, "cpu").rules == "nnunet"
    document["network_weights"] = {"stem.weight": torch.zeros(1)}
    with pytest.raises(FormatError, match="aren't those of a MedNeXt"):
        adopt(alone(document, tmp_path), tmp_path / "best.ckpt", stated(None, shared_project))
