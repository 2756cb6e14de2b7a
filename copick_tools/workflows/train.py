"""`popsicle train`: from a recipe and a project to an experiment folder."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from copick_tools import __version__
from copick_tools.data import read, splits, uris
from copick_tools.data.project import Project, check_objects, write_text
from copick_tools.engines import registry
from copick_tools.errors import PopsicleError
from copick_tools.recipes.load import dump_yaml, load_recipe, load_task
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.results import TrainResult

log = logging.getLogger("copick_tools")
PACKAGES = ("copick", "numpy", "scipy", "torch", "monai", "accelerate", "nnunetv2", "connected-components-3d", "zarr")


@dataclass(frozen=True)
class Plan:
    """What a training would do. memory: bytes of cached tomograms."""

    recipe: Recipe
    folder: Path
    train: list[str]
    validation: list[str]
    memory: int


def plan_training(project: Project, recipe_name: str, settings: tuple[str, ...] = (), out: Path | None = None) -> Plan:
    """Resolve a recipe against a project, checking all that can be checked without training.

    Raises NotFoundError, FormatError, UsageError.
    """
    recipe = load_recipe(recipe_name, settings)
    task = load_task(recipe.task)
    registry.settings(registry.engine(recipe.family).Model, recipe)
    check_objects(project, task)
    names = splits.runs(project, recipe.train_split)
    held_out = splits.runs(project, recipe.validation_split) if recipe.validation_split else []
    uri = uris.tomogram_uri(recipe.input)
    shapes = [read.read_tomogram(project, run, uri).shape for run in [*names, *held_out]]
    cached = shapes[: len(names)] if recipe.train.cache else []
    stem = Path(recipe_name).stem
    parts = [task.name, recipe.family] + ([] if stem == recipe.family else [stem])
    memory = sum(4 * z * y * x for z, y, x in cached)
    return Plan(recipe, out or Path("experiments").joinpath(*parts), names, held_out, memory)


def train(
    project: Project,
    plan: Plan,
    progress: Callable[[int, int], None],
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> tuple[Path, bool]:
    """Train, and return the best checkpoint and whether anything was done.

    A finished experiment is left alone unless ``overwrite``; an unfinished one goes on with ``resume``.

    Raises PopsicleError when the folder holds an unfinished experiment and neither is given.
    """
    folder, marker = plan.folder, plan.folder / "finished.json"
    recipe_text = dump_yaml(plan.recipe)
    if overwrite:
        for name in ("last.ckpt", "best.ckpt", "metrics.csv", "finished.json", "log.txt", "thresholds.yaml"):
            (folder / name).unlink(missing_ok=True)
    elif marker.exists() and (folder / "best.ckpt").exists():
        if (folder / "recipe.yaml").read_text(encoding="utf-8") != recipe_text:
            raise PopsicleError(
                f"{folder} holds a finished experiment of another recipe", "choose another --out, or --overwrite"
            )
        return folder / "best.ckpt", False
    elif (folder / "last.ckpt").exists() and not resume:
        raise PopsicleError(
            f"{folder} holds an unfinished experiment", "--resume goes on with it, --overwrite starts anew"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.yaml", recipe_text)
    write_text(folder / "versions.json", json.dumps(versions(), indent=2) + "\n")
    with _log_file(folder / "log.txt"):
        log.info("training on %d runs, validating on %d: %s", len(plan.train), len(plan.validation), folder)
        best: Path = registry.engine(plan.recipe.family).train(plan.recipe, project, folder, progress, device=device)
    write_text(marker, json.dumps({"checkpoint": best.name, "project": str(project.config)}) + "\n")
    return best, True


def summary(best: Path, trained: bool) -> TrainResult:
    """What a checkpoint says of its training."""
    from copick_tools.training.checkpoint import read_card

    card = read_card(best)
    return TrainResult(checkpoint=str(best), trained=trained, score=card.score, step=card.step)


def versions() -> dict[str, str]:
    """What computed it."""
    found = {"copick-tools": __version__, "python": sys.version.split()[0], "platform": platform.platform()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """What is said while training also goes to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
