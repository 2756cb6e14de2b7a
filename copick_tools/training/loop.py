"""The training loop, exact to resume.

Everything random comes from the step number, the learning rate is a function of it, and the checkpoint holds the
rest. So a training that was killed and resumed ends with the same weights as one that was left alone.
"""

from __future__ import annotations

import csv
import logging
import math
import signal
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from copick_tools.data.replace import replacing
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.inference.device import use_bf16
from copick_tools.recipes.recipe import Optimizer, Recipe, Train
from copick_tools.training import checkpoint
from copick_tools.training.losses import make_loss
from copick_tools.training.patches import Patches
from copick_tools.training.seeds import seed_of

log = logging.getLogger("copick_tools")
Progress = Callable[[int, int], None]
Validate = Callable[[torch.nn.Module], float]
COLUMNS = ("step", "epoch", "lr", "loss", "score")


@dataclass
class State:
    """All that changes while training, and so all that a checkpoint holds."""

    network: torch.nn.Module
    ema: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float | None = None
    losses: list[float] = field(default_factory=list)  # of the current epoch
    scaler: torch.amp.GradScaler | None = None  # where gradients are float16

    def tensors(self) -> dict[str, Any]:
        """For `checkpoint.save`."""
        modules = {name: getattr(self, name).state_dict() for name in ("network", "ema", "optimizer")}
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler else {}
        return {**modules, **scaler, "step": self.step, "best": self.best, "losses": self.losses}

    def restore(self, tensors: dict[str, Any]) -> None:
        """From `checkpoint.read`."""
        for name in ("network", "ema", "optimizer"):
            getattr(self, name).load_state_dict(tensors[name])
        if self.scaler and "scaler" in tensors:
            self.scaler.load_state_dict(tensors["scaler"])
        self.step, self.best, self.losses = tensors["step"], tensors["best"], tensors["losses"]


def fit(
    network: torch.nn.Module,
    patches: Patches,
    validate: Validate | None,
    card: checkpoint.Card,
    folder: Path,
    progress: Progress,
) -> Path:
    """Train ``network``, from folder/last.ckpt where there is one, and return the path of the best checkpoint.

    validate: scores a network on the validation runs; the averaged weights are what is scored and kept. None: the last
    ones are kept.

    Raises PopsicleError when the loss is no longer finite, UsageError when last.ckpt is from another recipe.
    """
    recipe, train = card.recipe, card.recipe.train
    total = train.epochs * train.steps_per_epoch
    accelerator = _accelerator(train, next(network.parameters()).device)
    state = State(network, deepcopy(network).requires_grad_(False), make_optimizer(network, recipe.optimizer))
    resume(state, card, folder)
    wrapped, criterion = accelerator.prepare_model(network), make_loss(recipe.loss)
    for voxels, target in _batches(patches, train, state.step):
        lr = learning_rate(state.step, total, recipe.optimizer)
        torch.manual_seed(seed_of(train.seed, "dropout", state.step))
        wrapped.train()
        with accelerator.autocast():
            logits = wrapped(voxels.to(accelerator.device))
        loss = criterion(logits, target.to(accelerator.device))
        accelerator.backward(loss)
        descend(state, recipe, lr)
        state.losses.append(finite(loss, state.step))
        if state.step % train.steps_per_epoch == 0:
            end_epoch(state, card, folder, lr, validate)
        if state.step % train.checkpoint_every == 0 or state.step == total:
            checkpoint.save(folder / "last.ckpt", card, state.tensors())
        progress(state.step, total)
    return folder / "best.ckpt"


def learning_rate(step: int, total: int, settings: Optimizer) -> float:
    """Warm-up, then cosine to 0, polynomial (power 0.9, as nnU-Net) or constant; a function of the step alone."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, total - settings.warmup)
    factor = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "poly": (1 - done) ** 0.9, "constant": 1.0}
    return settings.lr * factor[settings.schedule]


def _accelerator(train: Train, device: torch.device) -> Accelerator:
    AcceleratorState._reset_state(reset_partial_state=True)  # a process that trains twice may change its settings
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if train.threads:
        torch.set_num_threads(train.threads)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if use_bf16(train.precision, device) else "no",
        step_scheduler_with_optimizer=False,
    )
    if accelerator.num_processes > 1:
        raise UsageError("training runs in one process", "start it without accelerate launch or torchrun")
    return accelerator


def make_optimizer(network: torch.nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The recipe's optimizer of a network's weights."""
    if settings.name == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            settings.lr,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.momentum > 0,
        )
    return torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay)


def _batches(patches: Patches, train: Train, first_step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    remaining = range(first_step * train.batch_size, len(patches))
    return iter(
        torch.utils.data.DataLoader(
            torch.utils.data.Subset(patches, remaining),
            batch_size=train.batch_size,
            num_workers=train.workers,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context="spawn" if train.workers else None,
            worker_init_fn=_ignore_interrupts,
        )
    )


def _ignore_interrupts(_: int) -> None:
    """Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def descend(state: State, recipe: Recipe, lr: float) -> None:
    """One optimizer step and one step of the average, which follows faster while it is young."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    if state.scaler:
        state.scaler.unscale_(state.optimizer)
    if recipe.optimizer.clip:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), recipe.optimizer.clip)
    if state.scaler:
        state.scaler.step(state.optimizer)
        state.scaler.update()
    else:
        state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    follow(state.ema, state.network, min(recipe.train.ema, state.step / (state.step + 10)))


@torch.no_grad()
def follow(ema: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    """One step of the average. A tensor that a network holds under several names, as nnU-Net's do, moves once."""
    means, values = ema.state_dict().values(), network.state_dict().values()
    for mean, value in {mean.data_ptr(): (mean, value) for mean, value in zip(means, values)}.values():
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def finite(loss: torch.Tensor, step: int) -> float:
    """The loss as a number. Raises PopsicleError where it isn't finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise PopsicleError(f"the loss is {value} at step {step}", "try a lower optimizer.lr or train.precision=fp32")
    return value


def end_epoch(state: State, card: checkpoint.Card, folder: Path, lr: float, validate: Validate | None) -> None:
    """Log the epoch; when it is time, validate and keep the best."""
    train = card.recipe.train
    epoch = state.step // train.steps_per_epoch
    due = epoch % train.validate_every == 0 or epoch == train.epochs
    score = validate(state.ema) if due and validate else None
    _log_row(folder, (state.step, epoch, lr, sum(state.losses) / len(state.losses), score))
    state.losses.clear()
    if due and (score is None or state.best is None or score >= state.best):
        state.best = score
        card = card.model_copy(update={"step": state.step, "score": score})
        checkpoint.save(folder / "best.ckpt", card, {"network": state.ema.state_dict()})
    if score is not None:
        log.info("epoch %d: validation score %.4f (best %.4f)", epoch, score, state.best)


def _log_row(folder: Path, row: tuple[float | None, ...]) -> None:
    with (folder / "metrics.csv").open("a", newline="") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow(COLUMNS)
        writer.writerow(["" if value is None else f"{value:.6g}" for value in row])


def unfinished(recipe: Recipe, folder: Path, *, mapped: bool = False) -> tuple[checkpoint.Card, dict[str, Any]] | None:
    """What last.ckpt in a folder holds (see `checkpoint.read`), None where there is none.

    Raises UsageError when it is from another recipe.
    """
    path = folder / "last.ckpt"
    if not path.exists():
        return None
    card, tensors = checkpoint.read(path, mapped=mapped)
    if card.recipe != recipe:
        raise UsageError(f"{path} comes from another recipe", "resume with the same settings, or choose another --out")
    return card, tensors


def resume(state: State, card: checkpoint.Card, folder: Path) -> None:
    """Go on from last.ckpt where there is one; what was logged after it will be logged again."""
    found, rows = unfinished(card.recipe, folder), folder / "metrics.csv"
    if found is not None:
        state.restore(found[1])
        log.info("going on from step %d", state.step)
    if rows.exists():
        lines = [line for line in rows.read_text().splitlines()[1:] if line.count(",") == len(COLUMNS) - 1]
        kept = [line for line in lines if int(line.partition(",")[0]) <= state.step]
        with replacing(rows) as temporary:
            temporary.write_text("\n".join([",".join(COLUMNS), *kept]) + "\n")
