"""Running out of memory while training, said in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from copick_tools.errors import PopsicleError
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import team

STEP = 32  # voxels; every family takes patches of multiples of it, where a side is twice that at least
CPU_WORDS = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


@contextmanager
def explained(recipe: Recipe, patch: tuple[int, ...] | None, folder: Path, cached: bool = False) -> Iterator[None]:
    """Raise PopsicleError where a training runs out of memory, with what to try.

    patch: zyx. folder: the experiment's. cached: whether tomograms are held in memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            raise PopsicleError(
                "a process that prepares patches died", "out of memory? try fewer of them: -s train.workers=0"
            ) from error
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(w in str(error) for w in CPU_WORDS):
            raise
        there = (folder / "last.ckpt").exists()
        kept = (
            "; last.ckpt is as it was, but a changed recipe starts anew: --overwrite, or another --out" if there else ""
        )
        raise PopsicleError(
            "out of memory while training", f"try {' or '.join(smaller(recipe, patch, cached))}{kept}"
        ) from error


def smaller(recipe: Recipe, patch: tuple[int, ...] | None, cached: bool) -> list[str]:
    """Settings that need less memory, as they are typed."""
    train, found = recipe.train, []
    own = train.batch_size // team.size()
    if own > 1:
        found.append(f"-s train.batch_size={own // 2 * team.size()}")
    if patch is not None:
        less = [max(STEP, side * 2 // 3 // STEP * STEP) if side > STEP else side for side in patch]
        if less != list(patch) and max(less) > STEP:
            found.append(f"-s train.patch=[{','.join(map(str, less))}]")
    if cached:
        found.append("-s train.cache=false")
    return found or ["a smaller model"]
