"""The only door to MONAI. Its import would import transformers and others too, seconds long, for parts of it that nobody uses here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

UNUSED = ("matplotlib", "pandas", "transformers")  # by MONAI's pictures, time tables and TransChex


class _Absent(MetaPathFinder):
    """Packages that can't be found by this thread."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.thread = names, threading.get_ident()

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """See `MetaPathFinder`. Raises ModuleNotFoundError."""
        if fullname.partition(".")[0] in self.names and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Where optional packages that weren't imported before aren't found."""
    finder = _Absent(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _without(UNUSED):
    from monai.data.utils import compute_importance_map, dense_patch_slices
    from monai.losses import FocalLoss
    from monai.losses.utils import compute_tp_fp_fn
    from monai.networks import nets
    from monai.networks.blocks.mednext_block import MedNeXtDownBlock
    from monai.networks.nets import SwinUNETR, UNet
    from monai.networks.nets.mednext import MedNeXt

__all__ = [
    "FocalLoss",
    "MedNeXt",
    "MedNeXtDownBlock",
    "SwinUNETR",
    "UNet",
    "compute_importance_map",
    "compute_tp_fp_fn",
    "dense_patch_slices",
    "nets",
]
