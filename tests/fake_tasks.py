"""Tasks for pipelines on several devices; worker processes import them from here."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri, TomogramUri
from copick_tools.data.write import has_segmentation, write_segmentation_slabs
from copick_tools.errors import NotFoundError, PopsicleError
from copick_tools.workflows.pipeline import Stages


@dataclass(frozen=True)
class Notes:
    """Writes a note per run. What goes wrong is in the name of the run or of the device."""

    folder: Path
    seconds: float = 0.0

    def finished(self, run):
        return (self.folder / run).exists()

    def stages(self, device):
        if device == "none":
            raise NotFoundError("there is no such device", "choose another")
        if device == "broken":
            raise RuntimeError("the driver is broken")

        def read(run):
            if "unreadable" in run:
                raise OSError("can't be read")
            return run

        def compute(run, tomogram):
            if "deadly" in run:
                time.sleep(0.2)  # what it had finished before is heard
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.seconds)
            return tomogram

        def finish(run, computed):
            sys.stdout.write(f"words of {run}\n")
            (self.folder / f"{run}~").write_text("")
            time.sleep(self.seconds)
            (self.folder / f"{run}~").rename(self.folder / run)
            return {"pid": os.getpid()}

        return Stages(read, compute, finish)


@dataclass(frozen=True)
class Dark:
    """Labels what is dark, a slice at a time; slowly where ``seconds`` is above 0. at: where it says what it begins."""

    project: Project
    output: SegmentationUri
    seconds: float = 0.0
    at: Path | None = None

    def finished(self, run):
        return has_segmentation(self.project, run, self.output)

    def stages(self, device):
        return Stages(self._read, lambda run, volume: volume < -1, self._finish)

    def _read(self, run):
        return read.read_tomogram(self.project, run, TomogramUri("wbp", 10.0)).numpy()

    def _finish(self, run, labels):
        write_segmentation_slabs(self.project, run, self.output, labels.shape, self._slabs(run, labels), np.uint8)
        return {"dark": int(labels.sum())}

    def _slabs(self, run, labels):
        for z, plane in enumerate(labels):
            if z == len(labels) // 2 and self.at is not None:
                with self.at.open("a") as file:
                    file.write(f"{run}\n")
            time.sleep(self.seconds)
            yield z, plane[None]


def sleepless(seconds):
    """Wait, or fail."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)
        yield
    raise PopsicleError(f"nothing happened within {seconds} s")
