"""A promptable model and what is read from its embedding, as one network: it learns from prompts, and predicts both ways."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from copick_tools.engines.promptable.answers import SamPromptable
from copick_tools.engines.promptable.clicks import chosen, pieces
from copick_tools.engines.promptable.following import SamFollower
from copick_tools.engines.promptable.parts import encoded, remembers, sight
from copick_tools.engines.promptable.predictor import PromptableTiled
from copick_tools.engines.promptable.readout import Readout
from copick_tools.engines.promptable.rounds import Lesson, taught
from copick_tools.engines.promptable.scoring import Asking
from copick_tools.engines.promptable.settings import Model
from copick_tools.errors import UsageError
from copick_tools.recipes.decoding import uncut
from copick_tools.recipes.recipe import IGNORED
from copick_tools.training import harness, team
from copick_tools.training.checkpoint import Card
from copick_tools.training.losses import Criterion
from copick_tools.training.seeds import generator


@dataclass(frozen=True)
class Lessons:
    """How a network is taught. batch: images of a step that fall to each process. criterion: of what is said of voxels."""

    model: Model
    seed: int
    batch: int
    criterion: Criterion


class PromptableNetwork(torch.nn.Module):
    """network: transformers'. outputs: what is said of each voxel; 0: nothing.

    Training, it is given voxels, target and step and returns a loss (see `training.loop.has_own_loss`); else it is a network
    of slices. lessons: None where it doesn't learn.
    """

    own_loss = True

    def __init__(self, network: Any, outputs: int, model: Model) -> None:
        super().__init__()
        self.sam, self.model = network, model
        self.sight = sight(network)
        decoder = network.config.prompt_encoder_config
        channels, grid = int(decoder.hidden_size), self.sight.grid // 4
        self.readout = Readout(self.sight, channels, grid, outputs) if outputs else None
        self.lessons: Lessons | None = None

    def forward(
        self, voxels: torch.Tensor, target: torch.Tensor | None = None, step: int | None = None
    ) -> torch.Tensor:
        """(B, 1, 1, y, x) to logits (B, outputs, 1, y, x); with a target (B, 3 + G, 1, y, x) and a step, to a loss.

        Raises UsageError where nothing is said of voxels.
        """
        slices = voxels.squeeze(2)
        if target is None or step is None:
            return self.maps(slices)
        features = encoded(self.sam, self.sight.pixels(slices[:, 0]))
        loss = self._asked(features, target[:, :3, 0].cpu().numpy(), step) + self._all_have_a_part()
        if self.readout is not None and self.lessons is not None:
            loss = loss + self.lessons.criterion(self.readout(features[-1], slices).unsqueeze(2), target)
        return loss

    def maps(self, slices: torch.Tensor) -> torch.Tensor:
        """(B, 1, y, x) to (B, outputs, 1, y, x)."""
        if self.readout is None:
            raise UsageError("this model answers prompts and says nothing of each voxel", "ask it for instances")
        embedding = encoded(self.sam, self.sight.pixels(slices[:, 0]))[-1]
        found: torch.Tensor = self.readout(embedding, slices)
        return found.unsqueeze(2)

    def _asked(self, features: list[torch.Tensor], target: np.ndarray, step: int) -> torch.Tensor:
        """The loss of prompts, the mean over images. target: (B, 3, y, x) channel numbers, whether known, ids."""
        assert self.lessons is not None
        how, losses = self.lessons.model, []
        for number, (classes, known, ids) in enumerate(target):
            rng = generator(self.lessons.seed, "prompts", step, team.rank() * self.lessons.batch + number)
            numbered = pieces(ids.astype(np.int64), known > 0, how.smallest)
            boxed = bool(rng.random() < how.box_probability)
            wanted = chosen(numbered, how.objects_per_image, rng)
            if len(wanted):
                own = [part[number : number + 1] for part in features]
                lesson = Lesson(own, wanted, classes != IGNORED)
                losses.append(taught(self.sam, self.sight, lesson, boxed, how.iterations, rng))
        return torch.stack(losses).sum() / len(target) if losses else features[-1].sum() * 0

    def _all_have_a_part(self) -> torch.Tensor:
        """0, of all weights that learn: a step without boxes, or without objects, has a gradient for each, too."""
        learning = [weights for weights in self.parameters() if weights.requires_grad]
        return torch.stack([weights.sum() * 0 for weights in learning]).sum()

    def predictor(self, card: Card, device: torch.device) -> PromptableTiled:
        """Behind the tiler, and behind prompts."""
        plain, recipe = harness.tiled(self, card, device), card.recipe
        asking = Asking(
            smallest=self.model.smallest,
            most=self.model.objects_per_image,
            uncut=uncut(recipe, card.task),
            ignored=recipe.target.ignore_label,
            prompting=recipe.prompting,
        )
        return PromptableTiled(
            **{field.name: getattr(plain, field.name) for field in fields(plain) if field.init},
            promptable=SamPromptable(self.sam, device, plain.bf16),
            follower=SamFollower(self.sam, device, plain.bf16) if remembers(self.sam) else None,
            asking=asking,
        )
