"""The predictor of a checkpoint that answers prompts, and that may say something of each voxel besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from copick_tools.engines.promptable.scoring import Asking, scores
from copick_tools.errors import UsageError
from copick_tools.inference.encoded import Encoded
from copick_tools.inference.extract import on_models_grid
from copick_tools.inference.promptable import Follower, Promptable
from copick_tools.inference.tiler import Tiled
from copick_tools.training.validation import ValidationRun
from copick_tools.volumes.normalize import Volume, scale_of

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample


@dataclass
class PromptableTiled(Tiled):
    """As `Tiled` where there is a geometry; without, it only answers. promptable: what is asked. follower: its memory.

    asking: how it is scored without maps.
    """

    promptable: Promptable | None = None
    follower: Follower | None = None
    asking: Asking = Asking()

    def stitched(self, volume: Volume, sample: Sample | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """See `Tiled.stitched`. Raises UsageError where the network says nothing of voxels."""
        if self.geometry is None:
            raise UsageError(
                "this model answers prompts and says nothing of each voxel",
                "ask it for instances, -o 'NAME:user/session?instance=true'; or train with target.kind distances",
            )
        yield from super().stitched(volume, sample)

    def prompted_dice(self, runs: Sequence[ValidationRun]) -> Iterator[float]:
        """The mean Dice of each held-out run that has instances, of what the model answers to a box and to a point on each."""
        for run in runs:
            if run.annotated is None or self.promptable is None:
                continue
            given, spacing, _ = on_models_grid(self, run.tomogram, run.tomogram.voxel_spacing, f"run {run.name}")
            statistics = scale_of(given, self.normalize, self.scaling)
            encoded = Encoded(self.promptable, given, statistics, self.asking.prompting)
            found = scores(encoded, run.annotated, run.tomogram.voxel_spacing / spacing, self.asking)
            if found:
                yield sum(found) / len(found)
