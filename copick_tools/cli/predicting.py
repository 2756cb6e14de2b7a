"""Options of the commands that apply a checkpoint (`segment`, `localize`, `calibrate`) or make picks (`localize`, `pick`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from copick_tools.cli.paths import FilePath
from copick_tools.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from contextlib import ExitStack

    from copick_tools.data.project import Project
    from copick_tools.workflows.predict import Options
    from copick_tools.workflows.prompting import Asked
    from copick_tools.workflows.where import Where

F = TypeVar("F", bound=Callable[..., Any])
METHODS = ("components", "mean-pool", "mean-shift", "peaks", "watershed")
SECTIONS = {
    "What counts as a pick": (
        *("beta", "thresholds", "method", "threshold", "min_score", "min_volume", "max_volume", "merge", "smoothing"),
        *("bandwidth", "select", "one_per_tomogram", "radius_fraction"),
    ),
    "Masks by prompts": ("promptable", "embeddings"),
    "Where picks may lie": ("border", "exclude", "exclude_distance", "sample", "sample_margin"),
    "How it is computed": ("overlap", "tta", "batch_size", "compile", "device", "workers"),
    "Models of other tools": ("task",),
}
MODELS = (".ckpt", ".pth", ".pt", ".yaml", ".yml")
TILING = ("overlap", "tta", "batch_size", "compile")
PICK = ("method", "threshold", "min_score", "min_volume", "max_volume", "merge", "smoothing", "bandwidth")


def _together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """All of them, shown in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


overlap = click.option(
    "--overlap", type=click.FloatRange(0, 1, max_open=True), help="Of neighboring windows. [default: the recipe's]"
)
tta = click.option(
    "--tta",
    type=click.Choice(["1", "2", "4", "8", "16", "turns"]),
    help="Orientations that are averaged: 2 half turn about z, 4 in-plane flips, 8 all flips, 16 those and quarter turns; "
    "turns: quarter turns alone, which keep the hand. [default: the recipe's]",
)
batch_size = click.option("--batch-size", type=click.IntRange(1), help="Windows at a time. [default: the recipe's]")
compile_ = click.option("--compile", "compile", is_flag=True, default=None, help="Use torch.compile (CUDA).")
tiling = _together(overlap, tta, batch_size, compile_)

method = click.option(
    "--method", type=click.Choice(METHODS), help="How picks are found. [default: learned, else the recipe's]"
)
threshold = click.option(
    "--threshold",
    type=float,
    help="Least probability of not being background; mean-pool, peaks: of the object. [default: learned, else the recipe's]",
)


def sizes(default: str) -> Callable[[F], F]:
    """Options of scores and volumes. default: where their values come from, in words."""
    return _together(
        click.option("--min-score", type=float, help=f"Least score. [default: {default}]"),
        click.option(
            "--min-volume", type=float, help=f"Least volume, as a fraction of a whole particle's. [default: {default}]"
        ),
        click.option("--max-volume", type=float, help=f"Largest volume, likewise. [default: {default}]"),
        click.option(
            "--merge", type=float, help="Picks nearer than this fraction of the radius are one. [default: the recipe's]"
        ),
    )


smoothing = click.option(
    "--smoothing",
    type=float,
    help="peaks: sigma, of the radius of the ball that is looked for. [default: the recipe's]",
)
bandwidth = click.option(
    "--bandwidth",
    type=float,
    help="mean-shift: angstrom, within which voxels attract each other. [default: the recipe's, else the radius of the "
    "largest ball that is looked for]",
)
border = click.option("--border", type=float, default=0.0, help="Angstrom from the faces without picks.")
exclude = click.option("--exclude", metavar="SEGMENTATION", help="No picks in or near this one, for example membranes.")
exclude_distance = click.option(
    "--exclude-distance", type=float, default=0.0, help="Angstrom: what near is, from its surface."
)
instances = click.option(
    "--instances", is_flag=True, help="Also write which voxels are of which pick: OBJECT:USER/SESSION?instance=true."
)
sample = click.option(
    "--sample",
    multiple=True,
    metavar="URI",
    help="Where the sample is, the rest is skipped: picks on its top and bottom surface (one set, or repeat for two), a "
    "segmentation (with @ or =), or box=DEGREES: the tomogram turned about z.",
)
sample_margin = click.option("--sample-margin", type=float, default=0.0, help="Angstrom to add above and below.")
promptable = click.option(
    "--promptable",
    metavar="MODEL",
    help="What answers prompts, if another than CHECKPOINT: a checkpoint, a folder of transformers (SAM, SAM2), or oracle:URI, "
    "which knows the reference. CHECKPOINT then says where to ask.",
)
embeddings = click.option(
    "--embeddings",
    type=FilePath(file_okay=False),
    help="Folder to keep encoded slices in; popsicle embed fills it beforehand.",
)
prompting = _together(promptable, embeddings)
where = _together(border, exclude, exclude_distance)
sampling = _together(sample, sample_margin)


task = click.option(
    "--task", metavar="TASK", help="Whose objects a model of another tool knows. [default: the project's objects]"
)


def models_and_files(paths: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """What follows a command, told apart: checkpoints (or other models, or folders of them) first, then tomograms.

    Raises NotFoundError for what isn't there and could be either.
    """
    first = next((number for number, path in enumerate(paths) if number and not _is_model(path)), len(paths))
    return tuple(paths[:first]), tuple(paths[first:])


def _is_model(path: Path) -> bool:
    """By what a name says, and where it says nothing by what is there. Raises NotFoundError."""
    from copick_tools.data.files import SUFFIXES, is_volume

    if is_volume(path) or path.suffix in MODELS:
        return not is_volume(path)
    if not path.exists():
        kinds = f"models end in {', '.join(MODELS)} or are folders, tomograms end in {', '.join(SUFFIXES)}"
        raise NotFoundError(f"no file or folder {path}", kinds)
    return path.is_dir() or not path.suffix


def take_options(given: dict[str, Any], plain: bool = False) -> Options:
    """What was given of tiling, picking and learned thresholds. plain: the tomograms are files."""
    from copick_tools.workflows.predict import Options

    tiling = {key: given[key] for key in TILING if given.get(key) is not None}
    if "tta" in tiling:
        tiling["tta"] = int(tiling["tta"]) if tiling["tta"].isdigit() else tiling["tta"]
    pick = {key: given[key] for key in PICK if given.get(key) is not None}
    return Options(pick, tiling, given.get("beta"), given.get("thresholds"), plain)


def take_asked(
    stack: ExitStack, project: Project, voxel_spacing: float | None, given: dict[str, Any], *, overwrite: bool = False
) -> Asked:
    """What answers prompts. stack: for as long as it is open, a model of another tool is converted. overwrite: embeddings that
    don't fit.
    """
    from copick_tools.workflows.adopt import opened_promptable
    from copick_tools.workflows.prompting import ORACLE, Asked

    name, embeddings = given["promptable"], given["embeddings"]
    if name is None or name.startswith(ORACLE):
        return Asked(name, embeddings, overwrite)
    found = stack.enter_context(opened_promptable(Path(name), project, voxel_spacing))
    return Asked(found, embeddings, overwrite)


def take_where(given: dict[str, Any]) -> Where:
    """Where picks may lie."""
    from copick_tools.data import uris
    from copick_tools.workflows.where import Where

    named = list(given.get("sample", ()))
    boxes = [text for text in named if text == "box" or text.startswith("box=")]
    if len(boxes) > 1:
        raise UsageError("--sample box was given twice")
    angle = _degrees(boxes[0]) if boxes else None
    sample = tuple(
        uris.segmentation_uri(text) if uris.names_segmentation(text) else uris.picks_uri(text)
        for text in named
        if text not in boxes
    )
    exclude = uris.segmentation_uri(given["exclude"]) if given.get("exclude") is not None else None
    return Where(
        border=given.get("border", 0.0),
        exclude=exclude,
        exclude_distance=given.get("exclude_distance", 0.0),
        sample=sample,
        sample_margin=given.get("sample_margin", 0.0),
        box=angle,
    )


def _degrees(text: str) -> float:
    """Of ``box`` or ``box=12.5``."""
    try:
        return float(text.partition("=")[2] or 0)
    except ValueError:
        raise UsageError(f"--sample {text}: expected degrees", "for example --sample box=12.5") from None
