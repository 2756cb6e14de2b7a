"""`popsicle annotate`: one object in one run by hand, in a window of napari or micro-SAM's, and back into the project.

The window is a `Window`: what is here knows nothing of it and runs without one. While it is open, what is committed is kept as
a draft beside the project, state by state, so that nothing is lost by a crash and a commit can be taken back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from copick_tools.data import read
from copick_tools.data.drafts import Draft
from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri, TomogramUri, same_spacing
from copick_tools.data.write import has_segmentation, write_segmentation_volume
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.recipes.annotate_results import AnnotateResult
from copick_tools.types import Floats, Integers
from copick_tools.volumes.pieces import dtype_for

log = logging.getLogger("copick_tools")
MOST = np.iinfo(np.uint32).max
Choice = Literal["use", "undo", "discard"]


@dataclass(frozen=True)
class Scene:
    """What a window shows. image: zyx float32. ids: zyx uint32, 0 is background, its own copy. voxel_spacing: angstrom."""

    title: str
    image: Floats
    ids: Integers
    voxel_spacing: float


class Window(Protocol):
    """Where a person annotates."""

    def ids(self) -> Integers:
        """zyx, what is committed now; also after it was closed."""

    def show(self, ids: Integers) -> None:
        """Show these as what is committed."""

    def run(self, every: float, save: Callable[[], None], undo: Callable[[], None]) -> None:
        """Until it is closed; ``save`` each so many seconds, ``undo`` when the person asks for the state before."""


@dataclass(frozen=True)
class Annotating:
    """What is annotated. output: instances of one object, under the annotator's user id. initial: instances to begin with; None:
    what is at the output. draft: what to do with one that an earlier window left: go on with it, or with the state before its
    last commit, or drop it. overwrite: what is at the output. write_empty: that there is nothing.
    """

    project: Project
    run: str
    tomogram: TomogramUri
    output: SegmentationUri
    initial: SegmentationUri | None = None
    draft: Choice | None = None
    overwrite: bool = False
    write_empty: bool = False

    def check(self) -> None:
        """Raises UsageError, NotFoundError."""
        if self.output.kind != "instance":
            raise UsageError(
                f"'{self.output}' holds no instances of one object",
                f"write -o {self.output.name}:{self.output.user}/{self.output.session}?instance=true",
            )
        if self.initial is not None and self.initial.kind not in ("instance", "panoptic"):
            raise UsageError(
                f"'{self.initial}' holds no instances", "popsicle instances makes them of semantic segmentations"
            )
        self.project.object(self.output.name)
        self.project.run(self.run)

    def placed(self, stored: read.StoredVolume) -> Annotating:
        """With the output at the tomogram's voxel spacing.

        Raises UsageError for another one, PopsicleError for an output that is there and may not be replaced.
        """
        if not same_spacing(self.output.voxel_spacing, stored.key_spacing):
            raise UsageError(f"'{self.output}' has another voxel spacing than {stored.name}", "leave its @ out")
        output = replace(self.output, voxel_spacing=stored.key_spacing)
        if not self.overwrite and has_segmentation(self.project, self.run, output):
            raise PopsicleError(
                f"{output} of run {self.run} is there already",
                "--overwrite goes on with it, and it stays until the new one is in place; or name another session",
            )
        return replace(self, output=output)


def annotate(asked: Annotating, window: Callable[[Scene], Window], every: float = 30.0) -> AnnotateResult:
    """Open a window, and store what is committed when it is closed. every: seconds between drafts.

    Raises UsageError, NotFoundError, FormatError, PopsicleError. The draft goes when its segmentation is in place.
    """
    asked.check()
    stored = read.read_tomogram(asked.project, asked.run, asked.tomogram)
    asked = asked.placed(stored)
    draft = Draft.of(asked.project, asked.run, asked.output)
    with draft.alone():
        before = _first(asked, stored)
        ids = _taken_up(asked, draft, stored, before)
        shown = window(Scene(f"{asked.run}: {asked.output}", _image(stored), ids.copy(), stored.voxel_spacing))
        _Kept(draft, shown).run(every)
        return _stored(asked, draft, before, checked(shown.ids(), stored.shape))


def _first(asked: Annotating, stored: read.StoredVolume) -> Integers:
    """The ids to begin with where there is no draft. Raises NotFoundError, FormatError."""
    wanted = asked.initial
    if wanted is None:
        if not has_segmentation(asked.project, asked.run, asked.output):
            return np.zeros(stored.shape, np.uint32)
        wanted = asked.output
    found = read.read_segmentation(asked.project, asked.run, wanted)
    stored.require_shape(found)
    if wanted.kind == "instance":
        return checked(found.numpy(), stored.shape)
    label = asked.project.object(asked.output.name).label
    mine = found.of_channel("label").numpy() == label
    return checked(np.where(mine, found.of_channel("instance").numpy(), 0), stored.shape)


def _taken_up(asked: Annotating, draft: Draft, stored: read.StoredVolume, first: Integers) -> Integers:
    """The ids that the window shows: those of a draft that was left, else ``first``. Raises UsageError, FormatError."""
    about: dict[str, object] = {"tomogram": stored.name, "output": str(asked.output), "shape": list(stored.shape)}
    if draft.states and asked.draft != "discard":
        if asked.initial is not None and asked.draft is None:
            raise UsageError(
                f"a window that was open at {draft.age} left a draft, and --initial names something else to begin with",
                "--draft use goes on with the draft, --draft discard drops it",
            )
        if draft.about().get("shape") != about["shape"]:
            raise FormatError(
                f"the draft of {draft.age} is of {draft.about().get('tomogram')}, which has another shape than {stored.name}",
                "annotate that one, or --draft discard",
            )
        found = draft.undo() if asked.draft == "undo" else draft.latest()
        if found is None:
            raise UsageError("the draft has no state before its latest", "--draft use")
        log.info("taking up the draft of %s (%d objects); --draft discard drops it", draft.age, count(found))
        return checked(found, stored.shape)
    if asked.draft == "undo":
        raise UsageError("there is no draft of which a commit could be taken back", "leave --draft out")
    draft.discard()
    draft.begin(about)
    return first


@dataclass
class _Kept:
    """A window whose committed objects are kept as a draft."""

    draft: Draft
    window: Window

    def run(self, every: float) -> None:
        """Until the window is closed; what it shows first is a state, and what it showed last."""
        self.save()
        self.window.run(every, self.save, self.undo)
        self.save()

    def save(self) -> None:
        """Keep what is committed now, if it is new. A full disk is said, and no reason to end."""
        try:
            self.draft.keep(self.window.ids())
        except OSError as error:
            log.warning("no draft can be kept: %s", error)

    def undo(self) -> None:
        """Show the state before; what isn't kept yet is one, too."""
        self.save()
        found = self.draft.undo()
        if found is not None:
            self.window.show(found)


def checked(ids: Any, shape: tuple[int, ...]) -> Integers:
    """Ids as uint32. Raises FormatError for another shape than the tomogram's, and for what is no id."""
    found = np.asarray(ids)
    if found.shape != tuple(shape):
        raise FormatError(f"the objects have shape {found.shape}, the tomogram {tuple(shape)}", "is it the right run?")
    whole = found.dtype.kind in "biu" or (np.isfinite(found).all() and (found == np.round(found)).all())
    if not whole or (found.size and (found.min() < 0 or found.max() > MOST)):
        raise FormatError(
            "the objects' ids aren't whole numbers from 0 to 4294967295", "number them anew: 0 is background"
        )
    return found.astype(np.uint32)


def _image(stored: read.StoredVolume) -> Floats:
    return stored.numpy().astype(np.float32)


def _stored(asked: Annotating, draft: Draft, before: Integers, ids: Integers) -> AnnotateResult:
    """Write it, and drop the draft. Raises PopsicleError; the draft stays then."""
    output, written = asked.output, bool(ids.any()) or asked.write_empty
    if written:
        if not asked.overwrite and has_segmentation(asked.project, asked.run, output):
            raise PopsicleError(
                f"{output} of run {asked.run} was written meanwhile by somebody else",
                "what you made is a draft: run the command again with --overwrite",
            )
        try:
            write_segmentation_volume(asked.project, asked.run, output, ids, dtype_for(int(ids.max())))
        except OSError as error:
            raise PopsicleError(
                f"can't write {output} of run {asked.run}: {error}",
                "what you made is a draft: mend that, and run the command again",
            ) from error
    if written or not before.any():
        draft.discard()
    return _result(asked, before, ids, written)


def _result(asked: Annotating, before: Integers, ids: Integers, written: bool) -> AnnotateResult:
    old, new = (set(np.unique(part[part > 0]).tolist()) for part in (before, ids))
    touched = set(np.unique(np.r_[before[before != ids], ids[before != ids]]).tolist())
    return AnnotateResult(
        run=asked.run,
        input=str(asked.tomogram),
        output=str(asked.output),
        written=written,
        objects=len(new),
        added=len(new - old),
        removed=len(old - new),
        changed=len(touched & new & old),
    )


def count(ids: Integers) -> int:
    """How many objects there are."""
    return len(np.unique(ids[ids > 0]))
