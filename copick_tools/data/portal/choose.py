"""Which tomogram of a portal run is taken, and which annotations go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from copick_tools.data.portal.naming import object_name, tomo_type
from copick_tools.data.portal.records import AnnotationFile, RunRows
from copick_tools.data.uris import same_spacing
from copick_tools.errors import NotFoundError, PopsicleError
from copick_tools.recipes.task import TaskObject

Kind = Literal["points", "masks", "instances"]


@dataclass(frozen=True)
class Wanted:
    """What is asked of every run.

    objects: those of the task; None: whatever the portal has. only: names out of these.
    tomo_type, voxel_spacing (angstrom): asked for, so they have to be there. preferred: the task's types, best first.
    depositions: whose annotations with ground truth status are the reference; none: each dataset's own.
    kind: what the reference of a task is made of, points or masks; None: whatever there is.
    """

    objects: tuple[TaskObject, ...] | None = None
    only: tuple[str, ...] = ()
    tomo_type: str | None = None
    voxel_spacing: float | None = None
    preferred: tuple[str, ...] = ()
    depositions: tuple[int, ...] = ()
    kind: Kind | None = None

    def name_of(self, annotation: Any) -> str | None:
        """The name of an annotation's object in the project, None where it isn't wanted. Ids count more than names."""
        if self.objects is None:
            name: str | None = object_name(annotation.object_name or "")
        else:
            by_id = [o for o in self.objects if o.portal_object_id and o.portal_object_id == annotation.object_id]
            by_name = [o for o in self.objects if _folded(o.portal_object_name) == _folded(annotation.object_name)]
            both = [o for o in by_id if o in by_name]
            name = next((o.name for o in (*both, *by_id, *by_name)), None)
        return name if not self.only or name in self.only else None


@dataclass(frozen=True)
class Chosen:
    """An annotation file that goes with the tomogram."""

    object: str
    source: AnnotationFile
    reference: bool


def choose_tomogram(rows: RunRows, wanted: Wanted, depositions: Sequence[int]) -> tuple[Any, str]:
    """The one tomogram of a run, and the rule that chose it.

    Spacing and type first: those asked for, or the task's first type that is there. Then, as long as there are several:
    those of the reference's deposition, those of an alignment that has reference annotations, the portal's
    visualization default. Raises NotFoundError (none), PopsicleError (still several).
    """
    left = [t for t in rows.tomograms if t.s3_omezarr_dir]
    rules = []
    if wanted.voxel_spacing is not None:
        left = [t for t in left if same_spacing(wanted.voxel_spacing, t.voxel_spacing)]
        rules.append(f"voxel spacing {wanted.voxel_spacing:g}")
    if wanted.tomo_type is not None:
        left = [t for t in left if fnmatchcase(tomo_type(t), wanted.tomo_type)]
        rules.append(f"type {wanted.tomo_type}")
    else:
        preferred = next((name for name in wanted.preferred if any(tomo_type(t) == name for t in left)), None)
        if preferred is not None:
            left = [t for t in left if tomo_type(t) == preferred]
            rules.append(f"type {preferred}")
    if rows.tomograms and not any(t.s3_omezarr_dir for t in rows.tomograms):
        raise NotFoundError("no tomogram as OME-Zarr", _list(rows.tomograms))
    if not left:
        raise NotFoundError(f"no tomogram of {' and '.join(rules) or 'any kind'}", _list(rows.tomograms))
    aligned = {
        c.file.alignment_id for c in rows.annotations if is_reference(c, depositions) and wanted.name_of(c.annotation)
    }
    narrowing: list[tuple[str, Callable[[Any], bool]]] = [
        ("the reference's deposition", lambda t: t.deposition_id in wanted.depositions),
        ("the reference's alignment", lambda t: t.alignment_id in aligned),
        ("visualization default", lambda t: bool(t.is_visualization_default)),
    ]
    for rule, holds in narrowing:
        those = [t for t in left if holds(t)]
        if len(left) > 1 and those and len(those) < len(left):
            left = those
            rules.append(rule)
    if len(left) > 1:
        raise PopsicleError(
            f"{len(left)} tomograms are possible", f"give --tomo-type or --voxel-spacing: {_list(left)}"
        )
    return left[0], ", ".join(rules) or "the only one"


def choose_annotations(
    rows: RunRows, tomogram: Any, wanted: Wanted, depositions: Sequence[int]
) -> tuple[list[Chosen], list[str]]:
    """The annotation files that lie on the tomogram's alignment, and what was noticed.

    Points go by alignment alone; masks by alignment and voxel spacing. Of a task (``wanted.kind``), an object whose
    reference lies only elsewhere would make its particles look like background, so that is an error.
    """
    named = [(name, file) for file in rows.annotations if (name := wanted.name_of(file.annotation)) is not None]
    fits = [(name, file) for name, file in named if _fits(file, tomogram, rows.tomograms)]
    notes = _renamed(named, wanted.objects)
    referred = {_key(name, file) for name, file in fits if is_reference(file, depositions)}
    for name, file in named:
        if is_reference(file, depositions) and _key(name, file) not in referred:
            note = (
                f"the reference {kind_of(file)} of {name} lie on {_place(file)}, the tomogram on {_place_of(tomogram)}"
            )
            if kind_of(file) == wanted.kind:
                raise PopsicleError(note, "another --tomo-type or --voxel-spacing may fit")
            notes.append(note)
        elif file.voxel_spacing is None:
            notes.append(f"annotation file {file.file.id} of {name} states no voxel spacing: left out")
    chosen, more = _references(fits, depositions)
    return chosen, list(dict.fromkeys(notes + more))


def _key(name: str, candidate: AnnotationFile) -> tuple[str, Kind, str]:
    """What there is one reference of: an object in a state, as points or as masks."""
    return name, kind_of(candidate), _folded(candidate.annotation.object_state)


def kind_of(candidate: AnnotationFile) -> Kind:
    """Points, masks of a kind of object, or masks of single instances."""
    if candidate.is_points:
        return "points"
    return "instances" if candidate.shape_type == "InstanceSegmentationMask" else "masks"


def is_reference(candidate: AnnotationFile, depositions: Sequence[int]) -> bool:
    """Ground truth of the deposition that counts."""
    annotation = candidate.annotation
    return bool(annotation.ground_truth_status) and annotation.deposition_id in depositions


def _fits(candidate: AnnotationFile, tomogram: Any, tomograms: Iterable[Any]) -> bool:
    """Whether the file has the coordinates of the tomogram. Without an alignment it must be the run's only one."""
    alignment = candidate.file.alignment_id
    if alignment is None or tomogram.alignment_id is None:
        aligned = len({t.alignment_id for t in tomograms if t.alignment_id is not None}) <= 1
    else:
        aligned = alignment == tomogram.alignment_id
    if not aligned or candidate.voxel_spacing is None:
        return False
    return candidate.is_points or same_spacing(candidate.voxel_spacing, tomogram.voxel_spacing)


def _references(fits: list[tuple[str, AnnotationFile]], depositions: Sequence[int]) -> tuple[list[Chosen], list[str]]:
    """One reference for the points and the masks of an object in each of its states.

    Of several it is the one that curators recommend, then the newest, then the one with orientations.
    """
    rivals: dict[tuple[str, Kind, str], list[AnnotationFile]] = {}
    for name, file in fits:
        if is_reference(file, depositions):
            rivals.setdefault(_key(name, file), []).append(file)
    best = {key: max(files, key=_rank) for key, files in rivals.items()}
    notes = [
        f"{len(files)} references of {key[0]}: annotation {best[key].annotation.id} ({best[key].shape_type}) taken, "
        "the others kept under their own user ids"
        for key, files in rivals.items()
        if len(files) > 1
    ]
    notes += [
        f"annotation file {file.file.id} of {name} states no alignment: taken for the run's only one"
        for name, file in fits
        if file.file.alignment_id is None
    ]
    taken = {id(file) for file in best.values()}
    return [Chosen(name, file, id(file) in taken) for name, file in fits], notes


def _rank(candidate: AnnotationFile) -> tuple[bool, int, bool, int]:
    annotation = candidate.annotation
    oriented = candidate.shape_type == "OrientedPoint"
    return bool(annotation.is_curator_recommended), annotation.id, oriented, candidate.file.id


def _renamed(named: list[tuple[str, AnnotationFile]], objects: tuple[TaskObject, ...] | None) -> list[str]:
    known: Mapping[str, TaskObject] = {o.name: o for o in objects or ()}
    notes = []
    for name, file in named:
        entry, annotation = known.get(name), file.annotation
        if entry is None:
            continue
        if _folded(entry.portal_object_name) != _folded(annotation.object_name):
            notes.append(f"{name} is called '{annotation.object_name}' on the portal, not '{entry.portal_object_name}'")
        elif entry.portal_object_id != annotation.object_id:
            notes.append(f"{name} has the id {annotation.object_id} on the portal, not {entry.portal_object_id}")
    return notes


def _folded(name: str | None) -> str:
    return " ".join((name or "").casefold().split())


def _place(file: AnnotationFile) -> str:
    spacing = "an unknown spacing" if file.voxel_spacing is None else f"{file.voxel_spacing:g} A"
    return f"alignment {file.file.alignment_id} at {spacing}"


def _place_of(tomogram: Any) -> str:
    return f"alignment {tomogram.alignment_id} at {tomogram.voxel_spacing:g} A"


def _list(tomograms: Iterable[Any]) -> str:
    rows = sorted(
        f"{tomo_type(t)}@{t.voxel_spacing:g} (tomogram {t.id}, alignment {t.alignment_id})" for t in tomograms
    )
    return "it has " + (", ".join(rows) or "none")
