"""SwinUNETR (Hatamizadeh et al. 2022; POPSICLE B.2): a transformer with shifted windows, and a U-Net's decoder, from MONAI.

The paper's configuration has a feature size of 48: 62,186,953 parameters with 7 classes. The defaults below are those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch.overrides import TorchFunctionMode

from copick_tools.data.project import Project
from copick_tools.engines.family import Settings
from copick_tools.engines.registry import settings
from copick_tools.errors import UsageError
from copick_tools.inference.monai import SwinUNETR
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.space import Choice, FamilySpace, Number
from copick_tools.training import harness
from copick_tools.training.loop import Progress

Positive = Annotated[int, Field(ge=1)]
Four = tuple[Positive, Positive, Positive, Positive]


class Model(Settings):
    """The `model:` mapping of a recipe, less its family."""

    presets: ClassVar = {
        "tiny": {
            "feature_size": 12,
            "depths": (1, 1, 1, 1),
            "num_heads": (1, 2, 4, 8),
            "window_size": 4,
            "use_checkpoint": False,
        }
    }  # 3.7M parameters

    feature_size: int = Field(48, ge=12, multiple_of=12, description="channels of the first level")
    depths: Four = Field((2, 2, 2, 2), description="transformer blocks of each level; every second one is shifted")
    num_heads: Four = Field((3, 6, 12, 24), description="of the attention in each level")
    window_size: int = Field(7, ge=2, description="voxels of a level along each axis that attend to each other")
    drop_rate: float = Field(0.0, ge=0, lt=1, description="dropout within the blocks")
    attn_drop_rate: float = Field(0.0, ge=0, lt=1, description="dropout of the attention")
    dropout_path_rate: float = Field(0.0, ge=0, lt=1, description="most that a block is left out; rises with depth")
    use_v2: bool = Field(False, description="a convolution before each level's blocks: SwinUNETR-V2, 72.8M parameters")
    use_checkpoint: bool = Field(True, description="training: compute activations twice, to hold fewer")

    @model_validator(mode="after")
    def _heads(self) -> Model:
        for level, heads in enumerate(self.num_heads):
            if (self.feature_size << level) % heads:
                raise ValueError(
                    f"{heads} heads don't divide the {self.feature_size << level} channels of level {level}"
                )
        return self

    @property
    def multiple(self) -> int:
        """The patch must be a multiple of this along each axis."""
        return 32


SPACE = FamilySpace(
    {"model.feature_size": Choice(choices=(12, 24, 36, 48)), "model.drop_rate": Number(low=0.0, high=0.3)}
)


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network: (B, 1, z, y, x) to logits (B, outputs, z, y, x)."""
    with _Numbers():
        return SwinUNETR(in_channels=1, out_channels=outputs, **model.model_dump())


def check(recipe: Recipe) -> None:
    """Raise FormatError or UsageError for settings that can't be trained."""
    multiple = settings(Model, recipe).multiple
    harness.check_patch(recipe, multiple)
    if recipe.train.patch == (multiple,) * 3:
        raise UsageError(
            f"train.patch {list(recipe.train.patch)} is one voxel at the deepest level, which can't be normalized",
            f"make one side {2 * multiple} at least",
        )


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Train on a project; returns the best checkpoint."""
    model = settings(Model, recipe)
    return harness.train(lambda outputs: build(model, outputs), recipe, project, out_dir, progress, device)


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict."""
    return harness.load(_for_inference, checkpoint, device)


def _for_inference(recipe: Recipe, outputs: int) -> torch.nn.Module:
    """The network with the same weights, which computes nothing twice."""
    return build(settings(Model, recipe).model_copy(update={"use_checkpoint": False}), outputs)


class _Numbers(TorchFunctionMode):
    """Keeps on the CPU what MONAI makes only to read numbers from: the meta device, where networks are counted, has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return func(*args, **kwargs, device="cpu") if func is torch.linspace else func(*args, **kwargs)
