"""`popsicle train`: from a recipe and a project to an experiment folder."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from copick_tools.data.locking import Busy, locked
from copick_tools.data.project import Project, write_text
from copick_tools.data.splits import read_splits
from copick_tools.engines import registry
from copick_tools.engines.bridge.folder import WORKSPACE, remove
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.recipes.load import dump_yaml, flat, load_recipe, parse, read_yaml
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.results import ExperimentData, TrainResult
from copick_tools.workflows.versions import versions

log = logging.getLogger("copick_tools")
PACKAGES = ("copick", "numpy", "scipy", "torch", "monai", "accelerate", "nnunetv2", "connected-components-3d", "zarr")
MADE = (
    "last.ckpt",
    "best.ckpt",
    "metrics.csv",
    "finished",
    "data.json",
    "usage.json",
    "log.txt",
    "thresholds.yaml",
    "instance-thresholds.yaml",
    "scores.json",
    "matches.csv",
)


@dataclass(frozen=True)
class Plan:
    """What a training would do. memory: bytes of cached tomograms."""

    recipe: Recipe
    folder: Path
    data: ExperimentData
    memory: int


def plan_training(
    project: Project,
    recipe_name: str,
    settings: tuple[str, ...] = (),
    out: Path | None = None,
    device: str = "auto",
) -> Plan:
    """Resolve a recipe against a project, checking all that can be checked without reading voxels.

    Of several processes (see `training.team`) the main one does, for all. Raises NotFoundError, FormatError, UsageError.
    """
    from copick_tools.training import team

    team.join(device)
    team.everywhere(lambda: team.local_device(device))
    return team.by_main(lambda: _planned(project, recipe_name, settings, out))


def _planned(project: Project, recipe_name: str, settings: tuple[str, ...], out: Path | None) -> Plan:
    from copick_tools.training import team
    from copick_tools.training.batches import per_process
    from copick_tools.training.data import TrainingData

    recipe = registry.resolved(_as_there(load_recipe(recipe_name, settings), project))
    registry.engine(recipe.family).check(recipe)
    per_process(recipe.train, team.size())
    data = TrainingData.resolve(project, recipe)
    shapes = {run: data.shape(run) for run in data.train}
    _require_room(recipe, shapes)
    _require_reach(recipe, data.voxel_spacing)
    stem = Path(recipe_name).stem
    parts = [data.task.name, recipe.family] + ([] if stem == recipe.family else [stem])
    record = ExperimentData(project=str(project.config), train=data.train, validation=data.validation)
    cached = recipe.train.cache and registry.family(recipe.family).caches
    memory = 4 * sum(math.prod(shape) for shape in shapes.values()) if cached else 0
    return Plan(recipe, out or Path("experiments").joinpath(*parts), record, memory)


def _require_room(recipe: Recipe, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UsageError where no training tomogram holds a patch; warn where some don't. shapes: zyx by run."""
    patch = recipe.train.patch
    if patch is None or not shapes:
        return
    small = [run for run, shape in shapes.items() if any(side > length for side, length in zip(patch, shape))]
    if len(small) == len(shapes):
        run = max(shapes, key=lambda name: math.prod(map(min, patch, shapes[name])))
        fits = _fitting(recipe, shapes[run])
        hint = f"at most -s train.patch=[{','.join(map(str, fits))}]" if fits else "the network is too deep for them"
        raise UsageError(
            f"train.patch {list(patch)} is larger than the training tomograms: {run} has {list(shapes[run])} voxels",
            hint,
        )
    if small:
        log.warning(
            "%d of %d training tomograms are smaller than train.patch %s, such as %s: what is missing is filled up",
            *(len(small), len(shapes), list(patch), small[0]),
        )


def _require_reach(recipe: Recipe, voxel_spacing: float) -> None:
    """Raise UsageError where validation would pick by a mean-shift that reaches no second voxel."""
    pick = recipe.pick
    if pick.method == "mean-shift" and pick.bandwidth is not None and pick.bandwidth < voxel_spacing:
        raise UsageError(
            f"pick.bandwidth {pick.bandwidth:g} A is less than a voxel, {voxel_spacing:g} A",
            "about a particle's radius is usual; null leaves it to the objects",
        )


def _fitting(recipe: Recipe, shape: Sequence[int]) -> list[int]:
    """About the largest patch, zyx, that a tomogram holds and the family takes; empty where there is none."""
    patch, check = recipe.train.patch or (), registry.engine(recipe.family).check
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        sides = [min(side, length) // multiple * multiple for side, length in zip(patch, shape)]
        for chosen in (sides, [1, *sides[1:]]):  # a network of slices takes one of them
            smaller = recipe.train.model_copy(update={"patch": tuple(chosen)})
            with contextlib.suppress(UsageError):
                if all(chosen):
                    check(recipe.model_copy(update={"train": smaller}))
                    return chosen
    return []


def _as_there(recipe: Recipe, project: Project) -> Recipe:
    """The recipe, without validation where the project lacks the default split and the recipe doesn't insist on it."""
    if "validation_split" in recipe.model_fields_set or recipe.validation_split in read_splits(project):
        return recipe
    log.warning(
        "no split '%s' in %s: no validation, the last weights are kept", recipe.validation_split, project.config
    )
    return recipe.model_copy(update={"validation_split": None})


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

    A finished experiment is left alone unless ``overwrite``; an unfinished one goes on with ``resume``. Several processes
    (see `training.team`) train one model; the main one writes.

    Raises PopsicleError when the folder holds another experiment, or an unfinished one and neither is given, and when another
    process trains there.
    """
    from copick_tools.training import team
    from copick_tools.training.usage import measured

    team.join(device)
    folder = plan.folder
    with contextlib.ExitStack() as held:
        team.by_main(lambda: held.enter_context(_alone(folder)))
        if not team.by_main(lambda: _made_ready(plan, resume=resume, overwrite=overwrite)):
            return folder / "best.ckpt", False
        if team.is_main():
            held.enter_context(_log_file(folder / "log.txt"))
            held.enter_context(measured(folder / "usage.json", team.local_device(device)))
        log.info("training on %d runs, validating on %d: %s", len(plan.data.train), len(plan.data.validation), folder)
        if team.size() > 1:
            log.info("%d processes share each batch of %d", team.size(), plan.recipe.train.batch_size)
        best: Path = registry.engine(plan.recipe.family).train(plan.recipe, project, folder, progress, device=device)
        team.by_main(lambda: write_text(folder / "finished", ""))
    return best, True


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises PopsicleError when another process does."""
    lock = folder / ".lock"
    try:
        with locked(lock, wait=False):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Busy as error:
        raise PopsicleError(
            f"another process trains in {folder}", "wait until it has ended, or choose another --out"
        ) from error


def _made_ready(plan: Plan, *, resume: bool, overwrite: bool) -> bool:
    """Whether something is left to do, for which the folder is made ready then."""
    folder = plan.folder
    if overwrite:
        for name in MADE:
            (folder / name).unlink(missing_ok=True)
        remove(folder / WORKSPACE)
    elif (folder / "data.json").exists() and any((folder / name).exists() for name in ("last.ckpt", "finished")):
        _require_same(plan)
        if (folder / "finished").exists():
            return False
        if (folder / "last.ckpt").exists() and not resume:
            raise PopsicleError(
                f"{folder} holds an unfinished experiment", "--resume goes on with it, --overwrite starts anew"
            )
    write_text(folder / "recipe.yaml", dump_yaml(plan.recipe))
    write_text(folder / "data.json", plan.data.model_dump_json(indent=2) + "\n")
    write_text(folder / "versions.json", json.dumps(versions(PACKAGES), indent=2) + "\n")
    return True


def is_finished(plan: Plan) -> bool:
    """Whether the experiment is done, and is that of the plan."""
    texts = _documents(plan)
    return (plan.folder / "finished").exists() and all(_says(plan, name, text) for name, text in texts.items())


def _documents(plan: Plan) -> dict[str, str]:
    """What an experiment is told by."""
    return {"recipe.yaml": dump_yaml(plan.recipe), "data.json": plan.data.model_dump_json(indent=2) + "\n"}


def _says(plan: Plan, name: str, text: str) -> bool:
    """Whether a document of an experiment says this. What the recipe of an older version lacks, it had by default."""
    path = plan.folder / name
    if not path.is_file():
        return False
    if path.read_text(encoding="utf-8") == text:
        return True
    if name != "recipe.yaml":
        return False
    try:
        before = parse(Recipe, read_yaml(path), where=str(path))
    except FormatError:
        return False
    return before.model_dump(mode="json") == plan.recipe.model_dump(mode="json")


def _require_same(plan: Plan) -> None:
    """Raise PopsicleError when the experiment in the folder is of another recipe, project or split."""
    for name, text in _documents(plan).items():
        path = plan.folder / name
        if not _says(plan, name, text):
            what = f"recipe{_changed(path, plan)}" if name == "recipe.yaml" else "project or split"
            raise PopsicleError(
                f"{plan.folder} holds an experiment of another {what}",
                f"see {path}; choose another --out, or --overwrite",
            )


def _changed(path: Path, plan: Plan) -> str:
    """Which keys of a recipe differ from those in a file, in words."""
    if not path.exists():
        return ""
    before, now = (flat(document) for document in (read_yaml(path), plan.recipe.model_dump(mode="json")))
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
    return f" ({', '.join(keys[:4])}{more})" if keys else ""


def summary(best: Path, trained: bool) -> TrainResult:
    """What a checkpoint says of its training."""
    from copick_tools.training.checkpoint import read_card

    card = read_card(best)
    return TrainResult(checkpoint=str(best), trained=trained, score=card.score, step=card.step)


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
