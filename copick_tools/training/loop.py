"""The training loop, exact to resume.

Everything random comes from the step number, the learning rate is a function of it, and the checkpoint holds the
rest. So a training that was killed and resumed ends with the same weights as one that was left alone.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from copick_tools.data.replace import replacing
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.inference.device import use_bf16
from copick_tools.inference.geometry import geometry_of
from copick_tools.recipes.recipe import Optimizer, Recipe
from copick_tools.training import checkpoint, pooled, team
from copick_tools.training.batches import batches
from copick_tools.training.losses import make_criterion
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
    ones are kept. Several processes (see `team`) share each step, and validation; the main one writes.

    Raises PopsicleError when the loss is no longer finite, UsageError when last.ckpt is from another recipe.
    """
    recipe, train = card.recipe, card.recipe.train
    total = train.epochs * train.steps_per_epoch
    device = next(network.parameters()).device
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if train.threads:
        torch.set_num_threads(train.threads)
    state = start(network, card, folder)
    wrapped, by_itself = pooled.parallel(state.network), has_own_loss(network)
    criterion = make_criterion(recipe.loss, recipe.target, geometry_of(recipe))
    mixed = use_bf16(train.precision, device)
    with closing(batches(patches, train, state.step, device)) as remaining:
        for voxels, target in remaining:
            lr = learning_rate(state.step, total, recipe.optimizer)
            torch.manual_seed(seed_of(train.seed, "dropout", state.step, team.rank()))
            wrapped.train()
            voxels, target = voxels.to(device), target.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
                found = wrapped(voxels, target, state.step) if by_itself else wrapped(voxels)
            loss = found if by_itself else criterion(found, target)
            loss.backward()
            descend(state, recipe, lr)
            state.losses.append(finite(loss, state.step))
            if state.step % train.steps_per_epoch == 0:
                end_epoch(state, card, folder, lr, validate)
            if state.step % train.checkpoint_every == 0 or state.step == total:
                keep_last(state, card, folder)
            progress(state.step, total)
    return folder / "best.ckpt"


def has_own_loss(network: torch.nn.Module) -> bool:
    """Whether a network computes its loss itself: then, training, it is given voxels, target and step, and returns a scalar."""
    return bool(getattr(network, "own_loss", False))


def start(network: torch.nn.Module, card: checkpoint.Card, folder: Path) -> State:
    """The state of a training at its first step, or at that of folder/last.ckpt where there is one."""
    ema = deepcopy(network).requires_grad_(False)
    network = pooled.with_common_statistics(network)
    state = State(network, ema, make_optimizer(network, card.recipe.optimizer))
    resume(state, card, folder)
    return state


def keep_last(state: State, card: checkpoint.Card, folder: Path) -> None:
    """Write what a resumed training needs."""
    team.by_main(lambda: checkpoint.save(folder / "last.ckpt", card, state.tensors()))


def learning_rate(step: int, total: int, settings: Optimizer) -> float:
    """Warm-up, then cosine to 0, polynomial (power 0.9, as nnU-Net) or constant; a function of the step alone."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, total - settings.warmup)
    factor = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "poly": (1 - done) ** 0.9, "constant": 1.0}
    return settings.lr * factor[settings.schedule]


def make_optimizer(network: torch.nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The recipe's optimizer of a network's weights, but of those that are frozen."""
    learning = [weights for weights in network.parameters() if weights.requires_grad]
    if settings.name == "sgd":
        return torch.optim.SGD(
            learning,
            settings.lr,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.momentum > 0,
        )
    return torch.optim.AdamW(learning, settings.lr, weight_decay=settings.weight_decay)


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
    """The loss of the whole batch as a number. Raises PopsicleError where it isn't finite."""
    value = float(pooled.mean(loss))
    if not math.isfinite(value):
        team.fail(
            PopsicleError(f"the loss is {value} at step {step}", "try a lower optimizer.lr or train.precision=fp32")
        )
    return value


def end_epoch(state: State, card: checkpoint.Card, folder: Path, lr: float, validate: Validate | None) -> None:
    """Log the epoch; when it is time, validate and keep the best."""
    train = card.recipe.train
    epoch = state.step // train.steps_per_epoch
    due = epoch % train.validate_every == 0 or epoch == train.epochs
    pooled.share_buffers(state.ema)
    score = validate(state.ema) if due and validate else None
    row = (state.step, epoch, lr, sum(state.losses) / len(state.losses), score)
    state.losses.clear()
    better = due and (score is None or state.best is None or score >= state.best)
    if better:
        state.best = score
        card = card.model_copy(update={"step": state.step, "score": score})

    def write() -> None:
        _log_row(folder, row)
        if better:
            checkpoint.save(folder / "best.ckpt", card, {"network": state.ema.state_dict()})

    team.by_main(write)
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
    """Go on from last.ckpt where there is one; what was logged after it will be logged again.

    Raises PopsicleError where not all processes see the same.
    """
    found, rows = team.everywhere(lambda: unfinished(card.recipe, folder)), folder / "metrics.csv"
    if found is not None:
        state.restore(found[1])
        log.info("going on from step %d", state.step)
    if len(set(team.gather(state.step))) > 1:
        team.fail(
            PopsicleError(
                f"not all processes see the same {folder / 'last.ckpt'}",
                "give an --out that all machines share",
            )
        )
    if team.is_main() and rows.exists():
        lines = [line for line in rows.read_text().splitlines()[1:] if line.count(",") == len(COLUMNS) - 1]
        kept = [line for line in lines if int(line.partition(",")[0]) <= state.step]
        with replacing(rows) as temporary:
            temporary.write_text("\n".join([",".join(COLUMNS), *kept]) + "\n")
