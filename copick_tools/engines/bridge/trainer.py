"""nnU-Net's trainer, doing as a recipe says. Import it in `surroundings` only: nnU-Net reads some of them when it is imported."""

from __future__ import annotations

import logging
from collections.abc import Generator
from copy import deepcopy
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from copick_tools.engines.bridge.augmentation import RecipeAugmentation
from copick_tools.engines.bridge.criteria import DiceCE, OurLoss
from copick_tools.engines.bridge.family import Job
from copick_tools.engines.bridge.networks import expect_background
from copick_tools.engines.bridge.samples import Samples, untimed
from copick_tools.inference.device import autocast, has_bf16, placed, use_bf16
from copick_tools.training import loop, pooled, team
from copick_tools.training.batches import batches
from copick_tools.training.losses import make_loss
from copick_tools.training.seeds import seed_of

log = logging.getLogger("copick_tools")


class Trainer(nnUNetTrainer):
    """Trains what `begin` gives it; network, data, epochs and steps are nnU-Net's loop, the rest is as in `training.loop`.

    The last checkpoint is written at the end of each epoch, and whatever a step draws comes from its own seed.
    """

    job: Job
    state: loop.State
    lr = 0.0
    is_ddp = property(lambda self: False, lambda self, value: None)  # several processes are our business: see `team`

    def begin(self, job: Job) -> None:
        """Take over a job, and go on from its last checkpoint where there is one."""
        train = job.recipe.train
        self.job, self.device = job, job.device
        self.num_epochs, self.num_iterations_per_epoch = train.epochs, train.steps_per_epoch
        self.num_val_iterations_per_epoch = 0
        self.enable_deep_supervision = job.model.deep_supervision
        mixed = use_bf16(train.precision, self.device) or (train.precision == "auto" and self.device.type == "cuda")
        self.mixed = mixed and job.bridged.wants_half(train.precision, self.device)
        self.initialize()
        ema = deepcopy(self.network).requires_grad_(False)
        job.bridged.supervise(ema, False)
        half = self.mixed and self.device.type == "cuda" and not has_bf16(self.device)
        scaler = torch.amp.GradScaler("cuda") if half else None
        self.state = loop.State(self.network, ema, self.optimizer, scaler=scaler)
        loop.resume(self.state, job.card, job.folder)
        self._rest_heads()
        self.network = pooled.parallel(self.network)
        self.current_epoch = self.state.step // train.steps_per_epoch

    def build_network_architecture(  # type: ignore[override]
        self, plans_manager: Any, configuration_manager: Any, inputs: int, outputs: int, deep_supervision: bool
    ) -> torch.nn.Module:
        """The family's network with its first weights."""
        torch.manual_seed(seed_of(self.job.recipe.train.seed, "weights"))
        network = self.job.bridged.build(self.job.card.plan or {}, self.job.model, outputs)
        if hasattr(network, "initialize"):
            network.apply(network.initialize)
        if self.job.model.first_background:
            expect_background(self.job.bridged.heads(network), self.job.model.first_background)
        return placed(network, self.device)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, None]:
        """The recipe's; its learning rate is a function of the step."""
        return loop.make_optimizer(self.network, self.job.recipe.optimizer), None

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        return self.job.bridged.scales(self.job.card.plan or {}) if self.enable_deep_supervision else None

    def _build_loss(self) -> torch.nn.Module:
        """The recipe's loss; with deep supervision halved from each resolution to the next, and 0 for the lowest."""
        ignore, settings = self.job.outputs, self.job.recipe.loss
        loss: Any
        if settings.name == "dice-ce":
            outside = self.job.model.augmentation == "recipe"  # which ignores what isn't in the tomogram
            ignored = ignore if self.label_manager.has_ignore_label or outside else None
            loss = DiceCE(self.configuration_manager.batch_dice, ignored)
        else:
            loss = OurLoss(make_loss(settings), ignore)
        scales = self._get_deep_supervision_scales()
        if scales is None:
            return loss
        weights = np.array([0.5**level for level in range(len(scales))])
        weights[1:][-1:] = 0
        return DeepSupervisionWrapper(loss, weights / weights.sum())

    def _rest_heads(self) -> None:
        """Freeze the heads that no loss is taken of, which learn nothing anyway: DDP would wait for their gradients."""
        weights = getattr(self.loss, "weight_factors", (1.0,))
        for head, weight in zip_longest(self.job.bridged.heads(self.state.network), weights, fillvalue=0):
            if not weight:
                head.requires_grad_(False)

    def samples(self) -> Samples:
        """What batches are made of: patches of the training cases, by nnU-Net's own loader."""
        patch, own = self.configuration_manager.patch_size, self.job.model.augmentation == "nnunet"
        scales = self._get_deep_supervision_scales()
        first, transforms = patch, [RecipeAugmentation(self.job.recipe.augment, self.job.outputs)]
        if own:
            rotation, flat, first, axes = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
            ignore = self.label_manager.ignore_label
            theirs = self.get_training_transforms(patch, rotation, scales, axes, flat, ignore_label=ignore)
            transforms = [untimed(theirs)]
        elif scales is not None:
            transforms.append(DownsampleSegForDSTransform(scales))
        cases = self.dataset_class(self.preprocessed_dataset_folder, self.do_split()[0])
        made = ComposeTransforms(transforms)
        loader = nnUNetDataLoader(cases, 1, first, patch, self.label_manager, transforms=made)
        return Samples(loader, self.job.recipe.train, fixed=own)

    def get_dataloaders(self) -> tuple[Generator[dict[str, Any], None, None], None]:
        """The batches that remain; the validation runs are no business of nnU-Net's."""
        return batches(self.samples(), self.job.recipe.train, self.state.step, self.device), None

    def on_train_start(self) -> None:
        """Make the batches."""
        self.dataloader_train, _ = self.get_dataloaders()

    def on_train_epoch_start(self) -> None:
        """As in each step of ours."""
        self.network.train()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step. Raises PopsicleError when the loss isn't finite."""
        state, recipe = self.state, self.job.recipe
        total = self.num_epochs * self.num_iterations_per_epoch
        self.lr = loop.learning_rate(state.step, total, recipe.optimizer)
        targets = batch["target"] if isinstance(batch["target"], list) else [batch["target"]]
        targets = [target.to(self.device, non_blocking=True) for target in targets]
        torch.manual_seed(seed_of(recipe.train.seed, "dropout", state.step, team.rank()))
        with autocast(self.device, self.mixed):
            found = self.network(batch["data"].to(self.device, non_blocking=True))
        if self.enable_deep_supervision:
            loss = self.loss([logits.float() for logits in found], targets)
        else:
            loss = self.loss(found.float(), targets[0])
        (state.scaler.scale(loss) if state.scaler else loss).backward()
        loop.descend(state, recipe, self.lr)
        state.losses.append(loop.finite(loss, state.step))
        if state.step % self.num_iterations_per_epoch:
            self.job.progress(state.step, total)
        return {}

    def on_epoch_end(self) -> None:
        """Log, validate when it is time, and write what a resumed training needs."""
        job, total = self.job, self.num_epochs * self.num_iterations_per_epoch
        loop.end_epoch(self.state, job.card, job.folder, self.lr, job.validate)
        loop.keep_last(self.state, job.card, job.folder)
        self.current_epoch += 1
        job.progress(self.state.step, total)

    def on_train_end(self) -> None:
        """End the processes that make batches."""
        if self.dataloader_train is not None:
            self.dataloader_train.close()
        self.dataloader_train = None

    def print_to_log_file(self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True) -> None:
        """What nnU-Net has to say is logged at level debug."""
        log.debug("nnU-Net: %s", " ".join(str(part).strip() for part in args))

    def _nothing(self, *_: Any) -> None:
        """Not needed here."""

    on_epoch_start = on_train_epoch_end = on_validation_epoch_start = on_validation_epoch_end = _nothing
