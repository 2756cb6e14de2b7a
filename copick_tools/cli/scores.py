"""Tables of scores: results on stdout, warnings on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copick_tools.cli import output

if TYPE_CHECKING:
    from copick_tools.recipes.instance_results import ConsensusResult, InstancesResult
    from copick_tools.recipes.results import Comparison, Evaluation, PointsResult, SemanticResult

NETWORK = {"voi_split": "VOI split", "voi_merge": "VOI merge", "adapted_rand_error": "Rand error"}


def show(result: Evaluation) -> None:
    """Scores of any kind."""
    from copick_tools.recipes.instance_results import InstancesResult
    from copick_tools.recipes.results import PointsResult, SemanticResult

    if isinstance(result, PointsResult):
        show_points(result)
    elif isinstance(result, SemanticResult):
        show_segmentations(result)
    elif isinstance(result, InstancesResult):
        show_instances(result)


def show_points(result: PointsResult) -> None:
    """Scores of picks."""
    rows = [
        [
            name,
            o.tp,
            o.fp,
            o.fn,
            _text(o.precision),
            _text(o.recall),
            _text(o.fbeta),
            _range(o.ci95.get("fbeta")),
            _text(o.average_precision),
            f"{o.weight:g}",
            f"{o.distance:g}",
        ]
        for name, o in result.objects.items()
    ]
    header = ["object", "tp", "fp", "fn", "precision", "recall", f"F{result.beta:g}", "95% interval", "AP", "weight"]
    output.table(rows, [*header, "distance/A"])
    if result.localization:
        output.result("")
        output.table(
            [
                [name, e.pairs, f"{e.median:.1f}", f"{e.p90:.1f}", *(f"{e.axes[axis].median:.1f}" for axis in "xyz")]
                for name, e in result.localization.items()
            ],
            ["error/A", "pairs", "median", "90%", "x", "y", "z"],
        )
    kind = f"F{result.beta:g}, rule {result.rule}, {_runs(result.runs)}"
    output.result(f"\nscore {_text(result.score)} {_range(result.ci95)} ({kind})".replace("  ", " "))
    if result.other_rule:
        other = result.other_rule
        output.result(f"rule {other.rule}: {_text(other.score)} {_range(other.ci95)}".rstrip())
    _show_comparison(result.baseline)
    _show_warnings(result.warnings)


def show_segmentations(result: SemanticResult) -> None:
    """Scores of segmentations."""
    extra = [
        (title, number)
        for title, number in (("surface Dice", "surface_dice"), ("centre-line Dice", "centerline_dice"))
        if any(getattr(o, number) is not None for o in result.objects.values())
    ]
    rows = [
        [
            name,
            o.runs,
            _text(o.dice),
            _text(o.dice_sd),
            _range(o.ci95.get("dice")),
            _text(o.iou),
            *(_text(getattr(o, number)) for _, number in extra),
        ]
        for name, o in result.objects.items()
    ]
    output.table(rows, ["object", "runs", "Dice", "sd", "95% interval", "IoU", *(title for title, _ in extra)])
    output.result(
        f"\nscore {_text(result.score)} {_range(result.ci95)} (mean Dice, {_runs(result.runs)})".replace("  ", " ")
    )
    _show_comparison(result.baseline)
    _show_warnings(result.warnings)


def show_instances(result: InstancesResult) -> None:
    """Scores of instance or panoptic segmentations."""
    rows = [
        [
            name,
            o.runs,
            o.n_reference,
            o.n_prediction,
            _text(o.mean_segmentation_accuracy),
            _range(o.ci95.get("mean_segmentation_accuracy")),
            _text(o.ap50),
            _text(o.error_rate),
            _text(o.mean_matched_iou),
            _text(o.panoptic_quality),
            _text(o.dice),
        ]
        for name, o in result.objects.items()
    ]
    header = ["object", "runs", "objects", "predicted", "mSA", "95% interval", "AP50", "error rate", "matched IoU"]
    output.table(rows, [*header, "PQ", "Dice"])
    networks = {name: o for name, o in result.objects.items() if o.voi_split is not None}
    if networks:
        output.result("")
        numbers = (*NETWORK, "centerline_dice")
        output.table(
            [[name, *(_text(getattr(o, key)) for key in numbers)] for name, o in networks.items()],
            ["network", *NETWORK.values(), "centre-line Dice"],
        )
    score = f"score {_text(result.score)} {_range(result.ci95)} (mean segmentation accuracy, {_runs(result.runs)})"
    output.result(f"\n{score}".replace("  ", " "))
    output.result(f"error rate {_text(result.error_rate)} {_range(result.error_rate_ci95)}".rstrip())
    _show_comparison(result.baseline)
    _show_warnings(result.warnings)


def show_consensus(result: ConsensusResult) -> None:
    """How well two annotators agree."""
    rows = [
        [
            name,
            o.runs,
            o.n_reference,
            o.n_input,
            o.matched,
            _text(o.error_rate),
            _range(o.ci95.get("error_rate")),
            _text(o.bound),
            _range(o.ci95.get("bound")),
            _text(o.mean_matched_iou),
        ]
        for name, o in result.objects.items()
    ]
    header = ["object", "runs", "reference", "input", "matched", "error rate", "95% interval", "bound", "95% interval"]
    output.table(rows, [*header, "matched IoU"])
    output.result(
        f"\ninter-annotator error rate {_text(result.error_rate)} {_range(result.ci95.get('error_rate'))}".rstrip()
    )
    output.result(f"human-consensus bound {_text(result.bound)} {_range(result.ci95.get('bound'))}".rstrip())
    _show_warnings(result.warnings)


def _show_comparison(baseline: Comparison | None) -> None:
    if baseline is None:
        return
    found = baseline.difference
    p = "" if found.p is None else f", p {found.p:.4f}"
    output.result(
        f"baseline {' '.join(baseline.input)}: {_text(baseline.score)}, "
        f"difference {_signed(found.difference)} {_range(found.ci95)}{p}".rstrip()
    )


def _show_warnings(warnings: list[str]) -> None:
    for warning in warnings:
        output.words(f"Warning: {warning}")


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
