"""Figures as PNG data URLs, so that a report is one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from copick_tools.volumes.normalize import Volume

STYLE = {  # outcome -> color, line; distinguishable without color by the line
    "tp": ("#2ca02c", "solid"),
    "fp": ("#ff7f0e", "dashed"),
    "fn": ("#e41a1c", "dotted"),
}


@dataclass(frozen=True)
class Mark:
    """A pick or a missed reference point. position: (3,) xyz, radius: in angstrom. outcome: tp, fp or fn."""

    object: str
    position: np.ndarray
    radius: float
    outcome: str


def slice_figure(volume: Volume, voxel_spacing: float, marks: Sequence[Mark]) -> str:
    """The central slice (mean of five) of a zyx volume with the marks that cross it. voxel_spacing: angstrom."""
    depth, height, width = volume.shape
    middle = depth // 2
    slab = np.asarray(volume[max(0, middle - 2) : middle + 3, :, :], dtype=np.float32).mean(axis=0)
    low, high = np.percentile(slab, [1, 99])
    figure = Figure(figsize=(6.4, 6.4 * height / width), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(slab, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
    axes.set_axis_off()
    for mark in marks:
        x, y, z = mark.position / voxel_spacing
        radius = mark.radius / voxel_spacing
        if abs(z - middle) > radius:
            continue
        shown = max(2.0, float(np.sqrt(radius**2 - (z - middle) ** 2)))
        color, line = STYLE[mark.outcome]
        axes.add_patch(Circle((x, y), shown, fill=False, edgecolor=color, linestyle=line, linewidth=1.6))
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(-0.5, height - 0.5)
    return _data_url(figure)


def curve_figure(rows: Sequence[dict[str, str]]) -> str:
    """Loss and validation score over the steps of a training, from metrics.csv."""
    figure = Figure(figsize=(6.4, 2.6), dpi=110, layout="constrained")
    left = figure.add_subplot()
    steps = [int(float(row["step"])) for row in rows]
    left.plot(steps, [float(row["loss"]) for row in rows], color="#444444", label="loss")
    left.set_xlabel("step")
    left.set_ylabel("loss")
    scored = [(step, float(row["score"])) for step, row in zip(steps, rows) if row["score"]]
    if scored:
        right: Any = left.twinx()
        right.plot(*zip(*scored), color="#2ca02c", marker="o")
        right.set_ylabel("validation score", color="#2ca02c")
        right.set_ylim(0, 1)
    return _data_url(figure)


def bar_figure(
    names: Sequence[str], values: Sequence[float | None], intervals: Sequence[tuple[float, float] | None], beta: float
) -> str:
    """F-beta of each object, with its interval where there is one."""
    figure = Figure(figsize=(6.4, 0.45 * len(names) + 0.8), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    heights = [value or 0.0 for value in values]
    rows = range(len(names))
    axes.barh(rows, heights, color="#7fb3d5")
    for row, bounds in enumerate(intervals):
        if bounds is not None:
            axes.plot(bounds, (row, row), color="#333333", linewidth=2)
    axes.set_yticks(list(rows), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"F{beta:g}" + (", 95% interval over runs" if any(intervals) else ""))
    return _data_url(figure)


def _data_url(figure: Figure) -> str:
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
