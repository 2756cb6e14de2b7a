"""What the families that nnU-Net trains share: from a project to a trained checkpoint, and from a checkpoint to a predictor."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from copick_tools.data.project import Project
from copick_tools.engines.bridge.dataset import Workspace, fingerprint, preprocess
from copick_tools.engines.bridge.environment import require_nnunet, surroundings
from copick_tools.engines.bridge.family import Bridged, Job
from copick_tools.engines.bridge.folder import WORKSPACE
from copick_tools.engines.bridge.networks import Trained
from copick_tools.engines.bridge.plans import CONFIGURATION, check_patch, make_plan, nnunet_plans
from copick_tools.engines.registry import settings
from copick_tools.errors import FormatError, UsageError
from copick_tools.inference.tiler import Tiled
from copick_tools.recipes.recipe import Augment, Recipe, Train
from copick_tools.training import checkpoint, harness, loop, team
from copick_tools.training.data import TrainingData
from copick_tools.training.memory import explained
from copick_tools.training.validation import validation_score

log = logging.getLogger("copick_tools")
PLAIN = 0.0  # percent of the intensities that is clipped: as nnU-Net, none
UNUSED = {
    "cache": "tomograms are read from disk, patch by patch",
    "checkpoint_every": "last.ckpt is written each epoch",
}


def check(bridged: Bridged, recipe: Recipe) -> None:
    """Raise NotFoundError, FormatError or UsageError for settings that can't be trained."""
    require_nnunet()
    model = settings(bridged.model, recipe)
    if model.augmentation == "nnunet" and recipe.augment != Augment():
        raise UsageError(
            "augment has no effect with model.augmentation nnunet: nnU-Net turns and changes patches by its own rules",
            "take augment out of the recipe, or -s model.augmentation=recipe",
        )
    if recipe.target.kind == "gaussian":
        raise UsageError(
            f"{recipe.family} doesn't learn heatmaps: nnU-Net's targets are labels",
            "-s target.kind=spheres, or segmentation, works with it",
        )
    if recipe.instanced:
        raise UsageError(
            f"{recipe.family} doesn't learn {recipe.target.kind}: nnU-Net's targets are labels",
            "-s target.kind=segmentation works with it, then popsicle instances; or another family",
        )
    if recipe.scaling != "deviations":
        raise UsageError(
            f"scaling {recipe.scaling} has no effect on {recipe.family}: nnU-Net scales intensities by its own rules",
            "take scaling out of the recipe",
        )
    check_patch(recipe, bridged.multiple)


def train(
    bridged: Bridged, recipe: Recipe, project: Project, out_dir: Path, progress: loop.Progress, device: str
) -> Path:
    """Train on a project; returns the best checkpoint."""
    check(bridged, recipe)
    where, model = team.local_device(device), settings(bridged.model, recipe)
    data = TrainingData.resolve(project, recipe)
    checks = team.everywhere(lambda: [data.validation_run(run) for run in team.share(data.validation)])
    for key in [key for key in UNUSED if getattr(recipe.train, key) != getattr(Train(), key)]:
        log.info("train.%s has no effect on %s: %s", key, recipe.family, UNUSED[key])
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    if where.index is not None:
        torch.cuda.set_device(where)
    workspace = Workspace(out_dir / WORKSPACE, data)
    if not team.by_main(lambda: _is_done(recipe, out_dir)):
        team.by_main(workspace.open)
        with surroundings(workspace.folder):
            card = team.by_main(lambda: _prepared(bridged, model, workspace, out_dir))

            def validate(ema: torch.nn.Module) -> float:
                return validation_score(predictor(bridged, ema, card, where), checks, recipe, data.task)

            with explained(recipe, card.patch, out_dir):
                job = Job(bridged, model, card, out_dir, where, validate if data.validation else None, progress)
                _fit(job, workspace)
    team.wait()  # a network file system removes no file that another process has open
    team.by_main(workspace.close)
    return out_dir / "best.ckpt"


def load(bridged: Bridged, path: Path, device: str) -> Tiled:
    """The predictor of a checkpoint. Raises FormatError when its weights don't fit its plan."""
    card = checkpoint.read_card(path)
    plan = card.plan
    if plan is None:
        raise FormatError(f"{path} has no plan", "nnU-Net's families need one to build their network")

    def build(recipe: Recipe, outputs: int) -> torch.nn.Module:
        try:
            network = bridged.build(plan, settings(bridged.model, recipe), outputs)
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"{path}: no network can be built of its plan ({type(error).__name__}: {error})"
            ) from error
        bridged.supervise(network, False)
        return network

    return _as_nnunet(bridged, harness.load(build, path, device), card.recipe)


def predictor(bridged: Bridged, network: torch.nn.Module, card: checkpoint.Card, device: torch.device) -> Tiled:
    """A network behind the tiler, with windows by nnU-Net's rules."""
    return _as_nnunet(bridged, harness.predictor(network, card, device), card.recipe)


def _as_nnunet(bridged: Bridged, found: Tiled, recipe: Recipe) -> Tiled:
    found.rules = "nnunet"
    found.bf16 = found.bf16 and bridged.wants_half(recipe.train.precision, found.device)
    return found


def _planned(bridged: Bridged, model: Trained, workspace: Workspace, folder: Path) -> checkpoint.Card:
    """The card of a training, with the plan of its last checkpoint where there is one, else with a new one.

    Raises UsageError when what is planned can't be used as the recipe says.
    """
    data = workspace.data
    old = loop.unfinished(data.recipe, folder, mapped=True)
    if old is not None and old[0].plan:
        plan = old[0].plan
    else:
        ignored = fingerprint(workspace)
        workspace.describe(ignored)
        plan = make_plan(bridged, model, data.recipe, ignored)
        log.info("nnU-Net plans patches of %s voxels", "x".join(map(str, plan["patch"])))
    _, y, x = plan["patch"]
    if data.recipe.inference.tta in (16, "turns") and y != x:
        raise UsageError(
            f"inference.tta {data.recipe.inference.tta} turns windows by 90 degrees, and nnU-Net plans {plan['patch']}",
            f"-s inference.tta=8, or a patch that is square in the plane: -s train.patch=[{plan['patch'][0]},{min(y, x)},{min(y, x)}]",
        )
    return checkpoint.Card(
        recipe=data.recipe, task=data.task, voxel_spacing=data.voxel_spacing, normalize=PLAIN, plan=plan
    )


def _prepared(bridged: Bridged, model: Trained, workspace: Workspace, folder: Path) -> checkpoint.Card:
    """The card of a training whose cases are there."""
    card = _planned(bridged, model, workspace, folder)
    preprocess(workspace, card.plan or {})
    return card


def _is_done(recipe: Recipe, folder: Path) -> bool:
    """Whether the last checkpoint is that of the last step."""
    old = loop.unfinished(recipe, folder, mapped=True)
    total = recipe.train.epochs * recipe.train.steps_per_epoch
    return old is not None and old[1]["step"] >= total and (folder / "best.ckpt").exists()


def _fit(job: Job, workspace: Workspace) -> None:
    from copick_tools.engines.bridge.trainer import Trainer

    plan = job.card.plan or {}
    plans = nnunet_plans(plan) | {"continue_training": False}
    described = team.by_main(lambda: workspace.describe(plan["ignored"]))
    trainer = Trainer(plans, CONFIGURATION, 0, described, torch.device("cpu"))
    trainer.begin(job)
    try:
        trainer.run_training()
    finally:
        trainer.on_train_end()
