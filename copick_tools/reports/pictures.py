"""Grayscale pictures of tomograms with picks and outlines over them: a JPEG inside an SVG, so that the page styles the marks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from copick_tools.volumes.normalize import Volume

NBSP = "\N{NO-BREAK SPACE}"
OUTCOMES = {"tp": "found", "fp": "false", "fn": "missed"}
WIDEST = 512  # pixels of a slice
CROP = 72  # pixels of a crop's side, at most
QUALITY = 78
Contrast = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """A pick or a missed reference point. position: (3,) xyz, radius and distance (to its partner): in angstrom."""

    run: str
    object: str
    position: np.ndarray
    radius: float
    outcome: str
    score: float | None = None
    distance: float | None = None

    @property
    def said(self) -> str:
        """In words, for captions; what belongs together stays on a line."""
        x, y, z = self.position
        words = [] if self.score is None else [f"score {self.score:.3g}"]
        words += [] if self.distance is None or self.outcome != "tp" else [f"{self.distance:.0f} Å off"]
        place = f"x {x:.0f} y {y:.0f} z {z:.0f} Å"
        return ", ".join([*(word.replace(" ", NBSP) for word in words), place.replace(" ", NBSP)])


@dataclass(frozen=True)
class Circle:
    """In pixels of the picture, y downward. kind: tp, fp or fn."""

    x: float
    y: float
    radius: float
    kind: str
    said: str = ""


@dataclass(frozen=True)
class Outline:
    """A path in pixels. color: number of the object in the palette. kind: reference or prediction."""

    path: str
    color: int
    kind: str


@dataclass(frozen=True)
class Picture:
    """url: a data URL. said: for those who don't see it. panels: side by side, of equal width."""

    url: str
    width: int
    height: int
    title: str
    caption: str
    said: str
    circles: tuple[Circle, ...] = ()
    outlines: tuple[Outline, ...] = ()
    panels: int = 1

    @property
    def bytes(self) -> int:
        """About what it adds to the page."""
        return len(self.url) + 90 * len(self.circles) + sum(len(o.path) + 60 for o in self.outlines) + 500


def central_slab(volume: Volume, middle: int | None = None) -> np.ndarray:
    """Mean of five z slices of a zyx volume, yx; in the middle, or where ``middle`` (voxels) says."""
    center = volume.shape[0] // 2 if middle is None else middle
    slab: np.ndarray = np.asarray(volume[max(0, center - 2) : center + 3, :, :], dtype=np.float32)
    return np.asarray(slab.mean(axis=0))


def contrast(slab: np.ndarray) -> Contrast:
    """The gray values shown black and white: percentiles 1 and 99 of the finite values."""
    finite = slab[np.isfinite(slab)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def slice_picture(slab: np.ndarray, gray: Contrast, title: str, caption: str) -> tuple[Picture, float]:
    """A yx slab, y upward, and the pixels of the picture for each voxel."""
    height, width = slab.shape
    scale = min(1.0, WIDEST / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = _gray(slab[::-1], gray).resize(size, Image.Resampling.BOX)
    return Picture(_url(image), *size, title, caption, f"central slice of run {title}"), scale


def slice_circles(marks: Sequence[Mark], spacing: float, middle: int, scale: float, height: int) -> tuple[Circle, ...]:
    """Where the balls of the marks cut a slice. spacing: angstrom; middle: voxels; height: of the picture, pixels."""
    circles = []
    for mark in marks:
        x, y, z = mark.position / spacing
        radius = mark.radius / spacing
        if abs(z - middle) <= radius:
            cut = max(1.5, scale * float(np.sqrt(radius**2 - (z - middle) ** 2)))
            said = f"{mark.object}, {OUTCOMES[mark.outcome]}, {mark.said}"
            circles.append(Circle((x + 0.5) * scale, height - (y + 0.5) * scale, cut, mark.outcome, said))
    return tuple(circles)


def crop_box(mark: Mark, spacing: float) -> tuple[np.ndarray, int]:
    """The central voxel (zyx) of a crop and its half side in voxels: twice the object's radius."""
    center = np.floor(mark.position[::-1] / spacing + 0.5).astype(int)
    return center, int(np.clip(round(2 * mark.radius / spacing), 8, 64))


def crop_picture(volume: Volume, spacing: float, mark: Mark, gray: Contrast) -> Picture:
    """xy and xz slices (each the mean of three) through a mark, side by side, y and z upward. spacing: angstrom."""
    center, half = crop_box(mark, spacing)
    block = _block(volume, center, half)
    around = slice(half - 1, half + 2)
    with np.errstate(invalid="ignore"):
        panels = [block[around].mean(axis=0)[::-1], block[:, around].mean(axis=1)[::-1]]
    side = 2 * half + 1
    pixels = min(CROP, max(side, 40))
    sheet = Image.new("L", (2 * pixels, pixels))
    for index, panel in enumerate(panels):
        sheet.paste(_gray(panel, gray).resize((pixels, pixels), Image.Resampling.BICUBIC), (index * pixels, 0))
    scale = pixels / side
    offset = mark.position / spacing - center[::-1] + half + 0.5
    x, y, z = (float(value) * scale for value in offset)
    radius = mark.radius / spacing * scale
    circles = (
        Circle(x, pixels - y, radius, mark.outcome),
        Circle(pixels + x, pixels - z, radius, mark.outcome),
    )
    said = f"{mark.object}, {OUTCOMES[mark.outcome]}, in run {mark.run}: xy and xz slices, {mark.said}"
    return Picture(_url(sheet), 2 * pixels, pixels, mark.run, mark.said, said, circles, panels=2)


def _block(volume: Volume, center: np.ndarray, half: int) -> np.ndarray:
    """A cube around a voxel; what lies outside of the volume is NaN."""
    low, high = center - half, center + half + 1
    inside = [slice(max(0, a), max(0, min(b, n))) for a, b, n in zip(low, high, volume.shape)]
    block = np.full((2 * half + 1,) * 3, np.nan, dtype=np.float32)
    if all(part.stop > part.start for part in inside):
        place = tuple(slice(part.start - a, part.stop - a) for part, a in zip(inside, low))
        block[place] = np.asarray(volume[inside[0], inside[1], inside[2]], dtype=np.float32)
    return block


def _gray(values: np.ndarray, gray: Contrast) -> Image.Image:
    """An 8-bit picture; what isn't finite is middle gray."""
    low, high = gray
    scaled = np.nan_to_num((values - low) / (high - low), nan=0.5, posinf=1.0, neginf=0.0)
    return Image.fromarray((255 * np.clip(scaled, 0, 1)).astype(np.uint8))


def _url(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def outline(mask: np.ndarray, scale: float, height: int) -> str:
    """The border of a yx mask as the path of an SVG. scale: pixels per voxel of the mask; height: of the picture."""
    from skimage.measure import approximate_polygon, find_contours

    padded = np.pad(mask.astype(np.float32), 1)
    parts = []
    for contour in find_contours(padded, 0.5):
        points: Any = approximate_polygon(contour - 0.5, 0.3 / scale) * scale  # the voxel's center is at half a voxel
        if len(points) > 3:
            steps = "L".join(f"{x:.1f} {height - y:.1f}" for y, x in points[:-1])
            parts.append(f"M{steps}Z")
    return "".join(parts)
