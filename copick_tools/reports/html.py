"""The HTML report: one file to mail around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jinja2

from copick_tools import __version__
from copick_tools.recipes.results import PointsResult


@dataclass(frozen=True)
class Section:
    """One evaluation. bars, curve, slices: data URLs of pictures. left_out: runs without a picture."""

    name: str
    result: PointsResult
    bars: str
    simulated: bool = False
    curve: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0
    note: str | None = None


def render(sections: list[Section]) -> str:
    """The report as HTML that needs no other file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("copick_tools", "reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["interval"] = lambda pair: "" if pair is None else f"[{pair[0]:.3f}, {pair[1]:.3f}]"
    return environment.get_template("report.html.jinja").render(sections=sections, version=__version__)
