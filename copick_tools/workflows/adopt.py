"""`popsicle models convert`, and models of other tools wherever a checkpoint is expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from copick_tools.data.project import Project
from copick_tools.data.temporary import temporary_folder
from copick_tools.engines.adopt.adopt import adopt, kind_of, outputs
from copick_tools.engines.adopt.objects import Stated
from copick_tools.errors import UsageError
from copick_tools.recipes.load import load_task
from copick_tools.recipes.results import ConvertResult

BEST = "best.ckpt"
SUFFIX = ".ckpt"


def stated(task_name: str | None, project: Project | None, **known: float | None) -> Stated:
    """What the caller says of a model of another tool: its objects are those of the task, else of the project.

    known: voxel_spacing, likely, radius_fraction; see `Stated`. Raises NotFoundError, FormatError, UsageError.
    """
    for name, value in known.items():
        if value is not None and not 0 < value < 1000:
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}, but has to be a positive number below 1000")
    return Stated.of(load_task(task_name) if task_name else None, project, **known)


def convert(path: Path, out: Path, said: Stated, overwrite: bool = False) -> ConvertResult:
    """Write a model of another tool as a checkpoint, or several, one for each fold. Those that are there stay.

    Raises NotFoundError, FormatError, UsageError.
    """
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder", f"name a file, for example --out {out / BEST}")
    if out.suffix != SUFFIX:
        raise UsageError(f"--out {out} doesn't end in {SUFFIX}", f"for example --out {out.with_suffix(SUFFIX)}")
    expected = outputs(path, out)
    done = all(file.is_file() for file in expected) and not overwrite
    if not done:
        adopt(path, out, said, overwrite)
    return summary(expected, converted=not done)


def summary(files: Sequence[Path], converted: bool) -> ConvertResult:
    """What converted checkpoints say of themselves. Raises FormatError."""
    from copick_tools.training.checkpoint import read_card

    card = read_card(files[0])
    return ConvertResult(
        checkpoints=[str(file) for file in files],
        converted=converted,
        origin=card.origin,
        family=card.recipe.family,
        objects=card.objects,
        voxel_spacing=card.voxel_spacing,
        patch=card.patch,
    )


@contextmanager
def opened(
    paths: Sequence[Path],
    task_name: str | None = None,
    project: Project | None = None,
    voxel_spacing: float | None = None,
    named: str | None = None,
) -> Iterator[tuple[Path, ...]]:
    """Checkpoints of ours for each path: itself, the best one of an experiment's folder, or a model of another tool,
    converted for as long as the block lasts; one with several folds becomes several. Converted twice it has the same hash.

    voxel_spacing: angstrom, of the tomograms, which tells the unit where a model doesn't. named: the object of a model that finds
    one kind and doesn't know which. Raises as `convert`, and UsageError
    for a task where none of the models is another tool's.
    """
    if task_name and all(path.exists() and kind_of(path) is None for path in paths):
        raise UsageError(
            "--task says whose objects a model of another tool knows; these are popsicle's, which know theirs",
            "leave --task out",
        )
    with ExitStack() as stack:
        found: list[Path] = []
        for path in paths:
            if kind_of(path) is None:
                found.append(_own(path))
                continue
            said = replace(stated(task_name, project), likely=voxel_spacing, named=named)
            folder = stack.enter_context(temporary_folder())
            found.extend(adopt(path, folder / BEST, said))
        yield tuple(found)


@contextmanager
def opened_promptable(path: Path, project: Project, voxel_spacing: float | None) -> Iterator[Path]:
    """As `opened`, of one model that encodes images and answers prompts: which object it finds doesn't matter for that."""
    named = next(iter(project.objects), None)
    with opened((path,), None, project, voxel_spacing, named) as found:
        yield found[0]


def own_checkpoints(paths: Sequence[Path]) -> tuple[Path, ...]:
    """As `opened`, where a model of another tool won't do, for what is learned is kept beside it. Raises UsageError."""
    for path in paths:
        if kind_of(path) is not None:
            raise UsageError(
                f"{path} is a model of another tool",
                f"convert it first: popsicle models convert {path} -c CONFIG --voxel-spacing ANGSTROM --out best.ckpt",
            )
    return tuple(_own(path) for path in paths)


def _own(path: Path) -> Path:
    return path / BEST if (path / BEST).is_file() else path
