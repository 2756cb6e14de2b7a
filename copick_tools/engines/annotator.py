"""Windows to annotate in: napari alone, and micro-SAM's annotator of volumes (Archit et al., Nature Methods 22, 579, 2025).

Their layer `committed_objects` holds what is annotated. All that isn't a window is in `workflows.annotate`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copick_tools.engines import registry
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.types import Integers

if TYPE_CHECKING:
    from copick_tools.engines.microsam_files import SamFiles

LAYER = "committed_objects"  # micro-SAM's name, and ours where napari is alone
UNDO = "Control-U"
WINDOW = "import qtpy.QtWidgets as widgets; widgets.QApplication([])"
SECONDS = 60.0


def require_display() -> None:
    """Raise PopsicleError where no window can be opened. It is tried in a process of its own, for Qt would end this one."""
    try:
        done = subprocess.run([sys.executable, "-c", WINDOW], capture_output=True, text=True, timeout=SECONDS)
        failed, said = done.returncode != 0, done.stderr
    except subprocess.TimeoutExpired:
        failed, said = True, f"no answer within {SECONDS:g} s"
    if failed:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = lines[-1] if "Traceback" in said else next(iter(lines), "Qt can't start")
        raise PopsicleError(
            f"no window can be opened here: {reason[:200]}",
            "run it where there is a display (ssh -X, a remote desktop)",
        )


def napari_window(title: str, image: np.ndarray, ids: Integers) -> Any:
    """A `Window` of napari, where objects are painted by hand. image, ids: zyx. Raises MissingExtra, PopsicleError."""
    napari = _napari()
    require_display()
    viewer = napari.Viewer(title=title)
    viewer.add_image(image, name="image")
    viewer.add_labels(ids, name=LAYER)
    return Shown(viewer)


def microsam_window(
    files: SamFiles, embeddings: Path | None, device: str
) -> Callable[[str, np.ndarray, Integers], Any]:
    """Opens a `Window` of micro-SAM's annotator, as `napari_window`. embeddings: a file (zarr) that they are kept in."""

    def window(title: str, image: np.ndarray, ids: Integers) -> Any:
        from copick_tools.engines.microsam import library

        library()
        require_display()
        from micro_sam.sam_annotator import annotator_3d

        try:
            viewer = annotator_3d(
                image,
                embedding_path=None if embeddings is None else str(embeddings),
                segmentation_result=ids,
                model_type=files.model,
                checkpoint_path=str(files.weights),
                decoder_path=None if files.decoder is None else str(files.decoder),
                device=None if device == "auto" else device,
                return_viewer=True,
            )
        except RuntimeError as error:
            if embeddings is None or "mbedding" not in str(error):
                raise
            raise FormatError(
                f"the embeddings {embeddings} don't fit: {error}", "remove them, or --embeddings DIR2"
            ) from error
        viewer.title = title
        return Shown(viewer)

    return window


class Shown:
    """A viewer of napari as a `Window`."""

    def __init__(self, viewer: Any) -> None:
        self.viewer, self.layer = viewer, viewer.layers[LAYER]

    def ids(self) -> Integers:
        """See `Window.ids`. The layer counts that has the name; if somebody removed it, the one that was there."""
        if LAYER in self.viewer.layers:
            self.layer = self.viewer.layers[LAYER]
        return np.asarray(self.layer.data)

    def show(self, ids: Integers) -> None:
        """See `Window.show`."""
        self.ids()
        self.layer.data = ids

    def run(self, every: float, save: Callable[[], None], undo: Callable[[], None]) -> None:
        """See `Window.run`. ``UNDO`` is the key."""
        import napari
        from qtpy.QtCore import QTimer

        timer = QTimer()
        timer.timeout.connect(save)
        timer.start(int(1000 * every))
        self.viewer.bind_key(UNDO, lambda viewer: undo(), overwrite=True)
        napari.run()
        timer.stop()


def _napari() -> Any:
    try:
        import napari
    except ModuleNotFoundError as error:
        raise registry.MissingExtra(
            f"there is no window to annotate in: no module {error.name}", 'pip install "copick-tools[annotate]"'
        ) from error
    return napari
