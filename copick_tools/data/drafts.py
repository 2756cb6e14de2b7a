"""What is being annotated, kept on disk while it isn't finished: a crash loses no more than the last seconds."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from copick_tools.data.locking import Busy, locked
from copick_tools.data.project import Project
from copick_tools.data.replace import clear_leftovers, replacing
from copick_tools.data.uris import SegmentationUri
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.types import Integers
from copick_tools.volumes.packed import Packed

FOLDER, ABOUT, LOCK = "annotate", "about.json", "lock"
KEPT = 20  # states that one can go back to


@dataclass(frozen=True)
class Draft:
    """The states of the ids (zyx uint32) of one object in one run, each a file, the latest last. folder: its own."""

    folder: Path

    @classmethod
    def of(cls, project: Project, run: str, output: SegmentationUri) -> Draft:
        """That of a segmentation which isn't written yet. Users and sessions have no underscore: no two share a folder."""
        return cls(project.sidecar / FOLDER / run / f"{output.name}_{output.user}_{output.session}")

    @property
    def states(self) -> list[Path]:
        """The files, oldest first."""
        return sorted(self.folder.glob("[0-9]*.npz"))

    @property
    def age(self) -> str:
        """When the latest state was kept, in words."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.states[-1].stat().st_mtime))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it against other processes. Raises PopsicleError where one has it."""
        lock = self.folder.with_name(f"{self.folder.name}.{LOCK}")
        try:
            with locked(lock, wait=False):
                clear_leftovers(self.folder)
                yield
        except Busy as error:
            raise PopsicleError(
                "another window annotates the same object of this run", "close it, or choose another session"
            ) from error

    def begin(self, about: dict[str, object]) -> None:
        """Say what it is of, before the first state."""
        with replacing(self.folder / ABOUT) as temporary:
            temporary.write_text(json.dumps(about, indent=2), encoding="utf-8")

    def about(self) -> dict[str, object]:
        """What it is of. Raises FormatError."""
        try:
            found: dict[str, object] = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError) as error:
            raise FormatError(f"the draft {self.folder} is damaged: {error}", "--draft discard") from error

    def keep(self, ids: Integers) -> bool:
        """Keep a state, unless it is the latest one already; whether it is new. Raises OSError when the disk is full."""
        packed, states = Packed.of(np.asarray(ids, np.uint32)), self.states
        if states and self._is(packed, states[-1]):
            return False
        number = int(states[-1].stem) + 1 if states else 0
        with replacing(self.folder / f"{number:06d}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, shape=packed.shape, starts=packed.starts, values=packed.values)
        for old in self.states[:-KEPT]:
            old.unlink()
        return True

    def latest(self) -> Integers | None:
        """The latest state, None where there is none. Raises FormatError."""
        return self._read(self.states[-1]).unpacked() if self.states else None

    def undo(self) -> Integers | None:
        """Drop the latest state; the one before, None where there is none. Raises FormatError."""
        if len(self.states) < 2:
            return None
        self.states[-1].unlink()
        return self.latest()

    def discard(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is(self, packed: Packed, path: Path) -> bool:
        """Whether a file holds this; a damaged one doesn't."""
        try:
            return _same(packed, self._read(path))
        except FormatError:
            return False

    def _read(self, path: Path) -> Packed:
        try:
            with np.load(path, allow_pickle=False) as found:
                return Packed(tuple(found["shape"].tolist()), found["starts"], found["values"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise FormatError(
                f"the draft {path} is damaged: {error}", "remove this file: the state before remains"
            ) from error


def _same(one: Packed, other: Packed) -> bool:
    return one.shape == other.shape and all(
        np.array_equal(getattr(one, part), getattr(other, part)) for part in ("starts", "values")
    )
