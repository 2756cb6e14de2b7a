"""How good a promptable model's answers are, by simulated prompts: Dice, as Archit et al. (2025) validate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from copick_tools.engines.promptable.clicks import box_of, chosen, pieces
from copick_tools.inference.encoded import Ask, Encoded
from copick_tools.recipes.prompting import Prompting
from copick_tools.recipes.recipe import IGNORED
from copick_tools.training.instance_targets import Annotated
from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.cuts import Cuts
from copick_tools.volumes.prompts import innermost


@dataclass(frozen=True)
class Asking:
    """smallest: voxels of a piece in a slice. most: pieces of a slice that are asked for. uncut: labels of objects that aren't.

    slices: of a run, evenly spread over those that show something. ignored: label of voxels that nobody annotated.
    """

    smallest: int = 25
    most: int = 25
    uncut: tuple[int, ...] = ()
    slices: int = 16
    ignored: int | None = IGNORED
    prompting: Prompting = Prompting()


def scores(encoded: Encoded, annotated: Annotated, factor: float, how: Asking) -> list[float]:
    """Dice of each answer. factor: voxel spacing of what was annotated, in voxels of what was encoded."""
    slices = Slices(annotated, factor, encoded.shape, how)
    shown = [z for z in range(encoded.shape[0]) if slices.pieces(z).any()]
    some = np.unique(np.linspace(0, len(shown) - 1, min(how.slices, len(shown))).round().astype(int))
    found: list[float] = []
    for z in [shown[number] for number in some]:
        wanted = chosen(slices.pieces(z), how.most, np.random.default_rng(z))
        for ask in asks(wanted):
            found.extend(dices(wanted, encoded.asked(z, ask, offset=1.0), slices.known(z)).tolist())
    return found


class Slices:
    """What was annotated, slice by slice, on a grid of zyx ``shape``."""

    def __init__(self, annotated: Annotated, factor: float, shape: tuple[int, int, int], how: Asking) -> None:
        region = annotated.region
        self.labels, self.ids = (OnGrid(part, factor, shape) for part in (annotated.labels, annotated.ids))
        self.region = None if region is None else OnGrid(region.astype(np.uint8), factor, shape)
        self.how = how

    def known(self, z: int) -> Mask:
        """(y, x) where somebody annotated."""
        labels = self._of(self.labels, z)
        known = np.ones(labels.shape, bool) if self.how.ignored is None else labels != self.how.ignored
        return np.asarray(known if self.region is None else known & (self._of(self.region, z) > 0))

    def pieces(self, z: int) -> Integers:
        """See `clicks.pieces`; of objects that may be cut."""
        labels, ids = self._of(self.labels, z), self._of(self.ids, z)
        asked: Mask = self.known(z) & (labels > 0) & (ids > 0) & ~np.isin(labels, self.how.uncut)
        return pieces(ids.astype(np.int64) * 256 + labels, asked, self.how.smallest)

    def _of(self, volume: OnGrid, z: int) -> Integers:
        return np.asarray(volume[z : z + 1, :, :])[0]


def asks(wanted: Mask) -> Iterator[Ask]:
    """The boxes of masks (N, y, x), and a point on each, farthest from its border."""
    yield Ask(boxes=np.stack([box_of(mask) for mask in wanted]))
    yield Ask.on(np.stack([innermost(mask) for mask in wanted]))


def dices(wanted: Mask, answers: Cuts, known: Mask) -> Floats:
    """(N,) Dice of masks (N, y, x) and answers, where something is known (y, x)."""
    judged, found = known.reshape(-1), []
    for row, mask in enumerate(wanted):
        own, said = mask.reshape(-1) & judged, answers.of_row(row)
        said = said[judged[said]]
        found.append(2 * int(np.count_nonzero(own[said])) / max(1, int(np.count_nonzero(own)) + len(said)))
    return np.array(found)
