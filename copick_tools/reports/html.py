"""The HTML report: one file to mail around."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import jinja2

from copick_tools import __version__
from copick_tools.recipes.instance_results import InstancesResult, Scored
from copick_tools.recipes.leaderboard import Leaderboard, Standing
from copick_tools.recipes.results import PointsResult
from copick_tools.reports import charts, tables, words
from copick_tools.reports.bench import BenchSection, unique
from copick_tools.reports.learning_curve import LearningCurveSection, overlays
from copick_tools.reports.pictures import Picture
from copick_tools.reports.robustness import RobustnessSection
from copick_tools.reports.search import SearchSection
from copick_tools.reports.standings import Standings

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Gallery:
    """Crops of one object: outcome (fp, fn, tp) -> pictures. counts: how many there are in the runs shown."""

    object: str
    rows: Mapping[str, Sequence[Picture]]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Pictures:
    """slices: of runs. dropped: pictures that would have made the file too big. note: why there are none, or fewer."""

    slices: Sequence[Picture] = ()
    galleries: Sequence[Gallery] = ()
    dropped: int = 0
    note: str | None = None
    legend: Sequence[str] = ()


@dataclass(frozen=True)
class Board:
    """The paper's table beside the result."""

    leaderboard: Leaderboard
    standings: Sequence[Standing]


@dataclass(frozen=True)
class Training:
    """Curves of a training: the loss at ``step``, the validation score at ``scored``."""

    step: Sequence[float] = ()
    loss: Sequence[float] = ()
    scored: Sequence[float] = ()
    score: Sequence[float] = ()


@dataclass(frozen=True)
class Section:
    """One evaluation. commands: (what, command line). rows: of the table of runs, at most."""

    template: ClassVar[str] = "section.html.jinja"
    kind: ClassVar[str] = "evaluation"
    name: str
    result: Scored
    simulated: bool = False
    training: Training = Training()
    pictures: Pictures = Pictures()
    board: Board | None = None
    recipe: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
    rows: int = 500

    @property
    def points(self) -> PointsResult | None:
        """The result, if it is one of picks."""
        return self.result if isinstance(self.result, PointsResult) else None

    @property
    def instances(self) -> InstancesResult | None:
        """The result, if it is one of instances."""
        return self.result if isinstance(self.result, InstancesResult) else None

    @property
    def scores(self) -> charts.Named:
        """F-beta, Dice or mean segmentation accuracy of the objects, with intervals."""
        key = tables.main_number(self.result)
        return {name: (getattr(entry, key), entry.ci95.get(key)) for name, entry in self.result.objects.items()}

    @property
    def score_label(self) -> str:
        """What ``scores`` are."""
        label = f"F{self.points.beta:g}" if self.points else SCORES[tables.main_number(self.result)]
        return label + (", with 95% interval" if any(bounds for _, bounds in self.scores.values()) else "")

    @property
    def links(self) -> list[tuple[str, str]]:
        """Parts of the section: id and words."""
        points = self.points
        parts = {
            ("objects", "Objects"): True,
            ("runs", "Runs"): bool(self.result.by_run),
            ("thresholds", "Thresholds"): bool(self.instances and self.instances.objects),
            ("curves", "Curves"): bool(points and points.curves),
            ("reliability", "Calibration"): bool(points and points.reliability),
            ("localization", "Localization"): bool(points and points.localization),
            ("confusion", "Confusion"): bool(points and points.confusion),
            ("board", "Beside the paper"): self.board is not None,
            ("gallery", "Gallery"): bool(self.pictures.galleries),
            ("slices", "Slices"): bool(self.pictures.slices),
            ("training", "Training"): bool(self.training.step),
            ("again", "Commands, recipe"): True,
        }
        return [link for link, there in parts.items() if there]

    @property
    def run_scores(self) -> dict[str, float | None]:
        """The score of each run."""
        return {run: entry.score for run, entry in self.result.by_run.items()}


SCORES = {"dice": "Dice", "mean_segmentation_accuracy": "mean segmentation accuracy"}
NOUNS = {
    "evaluation": "evaluation",
    "search": "search",
    "bench": "benchmark",
    "robustness": "test of robustness",
    "learning-curve": "learning curve",
}
AnySection = Section | SearchSection | BenchSection | RobustnessSection | LearningCurveSection


def heading(sections: Sequence[AnySection]) -> str:
    """What a page holds: ``Search``, or ``2 evaluations, 1 benchmark``."""
    if len(sections) == 1:
        return NOUNS[sections[0].kind].capitalize()
    counts = Counter(section.kind for section in sections)
    return ", ".join(words.plural(counts[kind], noun) for kind, noun in NOUNS.items() if counts[kind])


def render(sections: Sequence[AnySection], standings: Standings | None = None) -> str:
    """The report as HTML that needs no other file. standings: of the methods in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("copick_tools", "reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": tables.number,
        "interval": tables.interval,
        "signed": tables.signed,
        "chance": tables.chance,
    }
    environment.globals |= {"charts": charts, "tables": tables, "words": words}
    names = unique([made.name for made in sections])
    curves = {n: made.result for n, made in zip(names, sections) if isinstance(made, LearningCurveSection)}
    page = environment.get_template("report.html.jinja").render(
        sections=sections,
        heading=heading(sections),
        version=__version__,
        overlays=overlays(curves),
        standings=standings,
    )
    return clean(page)


def clean(text: str) -> str:
    """Text without what a file may not hold (halves of characters) and HTML forbids or hides (control characters)."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
