"""`popsicle consensus`: how far two annotators agree, the bound that follows for a model, and what both agree on.

Pachitariu et al. (Cellpose-SAM), "Human-consensus bound": where each annotator errs at random about a common truth, they
differ from each other about twice as often as each differs from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri, same_spacing
from copick_tools.data.write import has_segmentation, write_segmentation_volume
from copick_tools.errors import UsageError
from copick_tools.metrics import instances, semantic
from copick_tools.metrics.bootstrap import FEWEST
from copick_tools.metrics.instances import THRESHOLDS, InstanceMatch, partners
from copick_tools.recipes.instance_results import Agreement, AgreementRun, ConsensusResult, ObjectAgreement
from copick_tools.recipes.results import Interval, RunOutcome, interval, number
from copick_tools.types import Floats, Integers, RunResult
from copick_tools.volumes.blocks import Box
from copick_tools.workflows.instance_numbers import run_mean
from copick_tools.workflows.instance_overlap import object_matches
from copick_tools.workflows.instance_pairs import InstancePairs, Objects, find_instance_pairs, find_objects, left_out
from copick_tools.workflows.pairs import Missing, few
from copick_tools.workflows.runs import outcome
from copick_tools.workflows.scoring import PACKAGES, few_runs
from copick_tools.workflows.versions import versions

MISSING = Missing(what="segmentation", hint="choose runs that both annotated with --split or -r")
Matches = dict[str, InstanceMatch]
ERROR, MATCHED = instances.NUMBERS.index("error_rate"), instances.NUMBERS.index("mean_matched_iou")


@dataclass(frozen=True)
class ConsensusQuestion:
    """Two annotators' instance or panoptic segmentations, and where to write what both agree on, if anywhere.

    resample: bring the input onto the reference's grid.
    """

    input: SegmentationUri
    reference: SegmentationUri
    output: SegmentationUri | None = None
    resample: bool = False
    split: str | None = None

    @property
    def sides(self) -> tuple[SegmentationUri, SegmentationUri]:
        """The reference, then the input."""
        return self.reference, self.input


@dataclass
class _Seen:
    """matches, unannotated (share of voxels): of the runs that could be read. results: what became of each run."""

    matches: dict[str, Matches] = field(default_factory=dict)
    unannotated: dict[str, float] = field(default_factory=dict)
    results: list[RunResult] = field(default_factory=list)


def consensus(
    project: Project,
    runs: Sequence[str],
    question: ConsensusQuestion,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ConsensusResult:
    """Compare two annotators run by run; write the consensus of each run, unless it is there.

    A consensus object is a pair of their objects that match one-to-one at IoU 0.5. Its voxels are those that both gave to
    it, for one vote of two is no majority; its id is the reference's. What one of them alone has drawn is left out.
    progress: called with the runs done and their number.

    Raises NotFoundError (a run without a reference, no such object), PopsicleError (a run without input, grids that differ),
    UsageError. What fails while a run is read or written fails that run alone.
    """
    if not runs:
        raise UsageError("no runs to compare")
    runs = sorted(runs)
    objects = find_objects(project, runs, question.sides, None, mutual=True)
    pairs = find_instance_pairs(project, runs, question.sides, objects, MISSING, question.resample)
    if question.output:
        _check_output(question, question.output, pairs)
    seen = _Seen()
    for done, run in enumerate(runs, start=1):
        found = outcome(run, partial(object_matches, pairs, run))
        if found.status == "done":
            seen.matches[run], seen.unannotated[run] = found.value
            if question.output:
                found = _written(project, question.output, pairs, run, seen.matches[run], overwrite)
        seen.results.append(found)
        if progress:
            progress(done, len(runs))
    return _document(project, question, pairs, seen, _warnings(project, runs, question, objects, seen))


def _check_output(question: ConsensusQuestion, output: SegmentationUri, pairs: InstancePairs) -> None:
    """Raise UsageError where the output can't hold what the inputs do."""
    names, each = list(pairs.objects.labels), pairs.objects.each
    kind = "instance" if each else "panoptic"
    if output.kind != kind:
        raise UsageError(f"'{output}' can't hold the consensus", f"add ?{kind}=true: that is what is compared")
    if each and len(names) > 1:
        raise UsageError(f"'{output}' holds one object, not {', '.join(names)}", "name one in -i and --reference")
    if each and output.name != names[0]:
        raise UsageError(f"'{output}' isn't called after {names[0]}", "instances are called after their object")
    if any(
        uri.matches(output.name, output.user, output.session, uri.voxel_spacing or 0, kind) for uri in question.sides
    ):
        raise UsageError(f"'{output}' is what is compared", "give another user or session")
    for run, reference in pairs.references[pairs.objects.parts[0]].items():
        if not same_spacing(output.voxel_spacing, reference.voxel_spacing):
            found = f"{reference.name} of run {run} has {reference.voxel_spacing:g} A per voxel"
            raise UsageError(f"{found}, the output {output.voxel_spacing:g}")


def _written(
    project: Project, output: SegmentationUri, pairs: InstancePairs, run: str, matches: Matches, overwrite: bool
) -> RunResult:
    """Write the consensus of a run, unless it is there."""
    reference = pairs.references[pairs.objects.parts[0]][run]
    uri = replace(output, voxel_spacing=reference.key_spacing)
    highest = max((int(match.pairs[:, 0].max()) for match in matches.values() if len(match.pairs)), default=0)
    if not pairs.objects.each:
        highest = max(highest, *pairs.objects.labels.values())
    dtype = np.promote_types(np.uint16, np.min_scalar_type(highest))

    def write() -> None:
        write_segmentation_volume(project, run, uri, _Consensus(pairs, run, matches), dtype)

    return outcome(run, write, lambda: not overwrite and has_segmentation(project, run, uri))


class _Consensus:
    """What both annotators of a run agree on, computed where it is sliced: ids zyx, or (2, z, y, x) labels and ids."""

    def __init__(self, pairs: InstancePairs, run: str, matches: Matches) -> None:
        part = pairs.objects.parts[0]
        self._sides, self.shape = pairs.sides(part, run), pairs.references[part][run].shape
        self._labels, self._matches, self._part = pairs.objects.labels, matches, part

    def __getitem__(self, region: Box) -> Integers:
        only = self._labels[self._part] if self._part else 0
        one, other = (side.read_labeled(region, only) for side in self._sides)
        label, ids = np.zeros(one[0].shape, one[0].dtype), np.zeros(one[1].shape, one[1].dtype)
        for name, value in self._labels.items():
            inside = (one[0] == value) & (other[0] == value)
            if inside.any():
                first, second = one[1][inside], other[1][inside]
                kept = partners(self._matches[name], first, second) | ((first == 0) & (second == 0))
                label[inside], ids[inside] = np.where(kept, value, 0), np.where(kept, first, 0)
        return ids if self._part else np.stack([label, ids])


def _document(
    project: Project, question: ConsensusQuestion, pairs: InstancePairs, seen: _Seen, warnings: list[str]
) -> ConsensusResult:
    names, runs = list(pairs.objects.labels), list(seen.matches)
    counts = np.array([[found[name].counts() for name in names] for found in seen.matches.values()])
    counts = counts.reshape(len(runs), len(names), -1) if runs else np.zeros((0, len(names), len(THRESHOLDS) + 3))
    errors = instances.inter_annotator(counts)
    overall, bounds = run_mean(errors)
    every = [result.run for result in seen.results]
    return ConsensusResult(
        error_rate=overall,
        bound=half(overall),
        ci95=_intervals(bounds),
        objects=_objects(names, counts, errors),
        by_run={run: _run(names, counts[row], errors[row]) for row, run in enumerate(runs)},
        split=question.split,
        runs=len(every),
        run_names=every,
        config=str(project.config),
        input=str(question.input),
        reference=str(question.reference),
        output=None if question.output is None else str(question.output),
        outcomes=[_outcome(result, seen) for result in seen.results],
        resampled=pairs.resampled,
        options=["--resample"] if question.resample else [],
        versions=versions(PACKAGES),
        warnings=warnings,
    )


def half(rate: float | None) -> float | None:
    """The human-consensus bound of an inter-annotator error rate."""
    return None if rate is None else rate / 2


def _intervals(bounds: Interval | None) -> dict[str, Interval]:
    """Of the error rate and of its half."""
    return {} if bounds is None else {"error_rate": bounds, "bound": (bounds[0] / 2, bounds[1] / 2)}


def _objects(names: Sequence[str], counts: Floats, errors: Floats) -> dict[str, ObjectAgreement]:
    """counts: (R, K, 13). errors: (R, K)."""
    values = _values(counts, errors)
    means = [semantic.object_means(values[..., column]) for column in range(values.shape[-1])]
    bounds, there = semantic.mean_intervals(errors), counts[..., -3:-1].any(axis=-1)
    found = {}
    for index, name in enumerate(names):
        around = None if bounds is None else interval(bounds[:, index])
        runs = int(there[:, index].sum())
        found[name] = ObjectAgreement(
            **_agreement([mean[index] for mean in means], counts[:, index].sum(axis=0)),
            runs=runs,
            absent_runs=len(counts) - runs,
            ci95=_intervals(around),
        )
    return found


def _run(names: Sequence[str], counts: Floats, errors: Floats) -> AgreementRun:
    """counts: (K, 13). errors: (K,)."""
    values = _values(counts, errors)
    mean = number(semantic.mean_score(errors[None]))
    objects = {name: Agreement(**_agreement(values[k], counts[k])) for k, name in enumerate(names)}
    return AgreementRun(error_rate=mean, bound=half(mean), objects=objects)


def _values(counts: Floats, errors: Floats) -> Floats:
    """(..., 4): error rate, that of either annotator as the reference, mean matched IoU."""
    swapped = counts.copy()
    swapped[..., [-3, -2]] = counts[..., [-2, -3]]
    rates = [instances.instance_numbers(side) for side in (counts, swapped)]
    return np.stack([errors, *(rate[..., ERROR] for rate in rates), rates[0][..., MATCHED]], axis=-1)


def _agreement(values: Sequence[float], counts: Floats) -> dict[str, float | int | None]:
    """Fields of an `Agreement`. values: the four of `_values`. counts: (13,)."""
    error, of_reference, of_input, matched = (number(value) for value in values)
    return {
        "error_rate": error,
        "bound": half(error),
        "of_reference": of_reference,
        "of_input": of_input,
        "mean_matched_iou": matched,
        "n_reference": int(counts[-3]),
        "n_input": int(counts[-2]),
        "matched": int(counts[0]),
    }


def _outcome(result: RunResult, seen: _Seen) -> RunOutcome:
    """counts: matched objects, by object."""
    found = seen.matches.get(result.run)
    counts = None if found is None else {name: len(match.pairs) for name, match in found.items()}
    return RunOutcome(
        run=result.run,
        status=result.status,
        error=result.error,
        hint=result.hint,
        counts=counts,
        seconds=result.seconds,
    )


def _warnings(
    project: Project, runs: Sequence[str], question: ConsensusQuestion, objects: Objects, seen: _Seen
) -> list[str]:
    found = []
    for uri in question.sides:
        names = left_out(project, runs, uri, objects.labels)
        found += [f"{', '.join(names)} of {uri} isn't compared: the other annotator lacks it"] if names else []
    unread = [run for run in runs if run not in seen.matches]
    if unread:
        found.append(f"{len(unread)} of {len(runs)} runs couldn't be read and are left out: {few(unread)}")
    some = [run for run, share in seen.unannotated.items() if share]
    if some:
        share = max(seen.unannotated.values())
        found.append(f"up to {share:.1%} of the voxels aren't annotated by both (label {objects.ignored}): {few(some)}")
    for name in objects.labels:
        there = sum(bool(m[name].n_reference or m[name].n_prediction) for m in seen.matches.values())
        if not there:
            found.append(f"neither annotator drew {name}")
        elif there < FEWEST <= len(runs):
            found.append(f"{name} is in {there} of {len(runs)} runs: no interval")
    return found + (few_runs(len(seen.matches)) if seen.matches else [])
