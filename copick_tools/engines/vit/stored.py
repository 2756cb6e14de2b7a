"""Image encoders in files: Cellpose-SAM's, segment_anything's, transformers'; and what fits them to other images.

Cellpose-SAM (Pachitariu et al. 2025, methods) is SAM's ViT with patches of 8 voxels instead of 16 and images of 256 instead of 1024:
filters of patches and embeddings of positions are subsampled. Then come three maps: flows along y and x times 5, and the logit
of being in a cell. Cellpose's files name SAM's weights as segment_anything does; `W2` moves maps from patches to pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

from copick_tools.engines.adopt.weights import Tensors, plain, tensors
from copick_tools.engines.vit.names import is_segment_anything, renamed
from copick_tools.errors import FormatError, NotFoundError, UsageError

MAPS = 3  # of Cellpose-SAM: flow y, flow x, probability
MEAN, DEVIATION = (
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
)  # by which SAM scales red, green and blue of 0 to 255
FOLDER = ("model.safetensors", "pytorch_model.bin")  # that transformers writes
POSITIONS, FILTERS = "pos_embed", "patch_embed.projection"
OURS = ("vision_encoder.", "image_encoder.")


@dataclass(frozen=True)
class Stored:
    """An image encoder. encoder: by transformers' names of `vision_encoder`, for images of three channels.

    readout: weight (3 * patch * patch, features, 1, 1) and bias of Cellpose-SAM's maps; None where there are none.
    """

    path: Path
    encoder: Tensors
    readout: tuple[torch.Tensor, torch.Tensor] | None

    @property
    def sizes(self) -> dict[str, Any]:
        """Settings of the family, as the shapes tell. image: side, voxels, of the images that it was made for."""
        filters, inner = self.encoder[f"{FILTERS}.weight"], self.encoder["layers.0.mlp.lin1.weight"]
        width, patch = filters.shape[0], filters.shape[-1]
        depth = 1 + max(int(found[1]) for name in self.encoder if (found := re.match(r"layers\.(\d+)\.", name)))
        return {
            "width": width,
            "depth": depth,
            "heads": width // self.encoder["layers.0.attn.rel_pos_h"].shape[1],
            "mlp_ratio": inner.shape[0] / width,
            "features": self.encoder["neck.conv1.weight"].shape[0],
            "patch_size": patch,
            "image": self.encoder[POSITIONS].shape[1] * patch,
        }


def read(path: Path) -> Stored:
    """A file of Cellpose-SAM, of segment_anything or of transformers' SamModel, or a folder of the last; no code in it is run.

    Raises NotFoundError, FormatError.
    """
    if not path.exists():
        raise NotFoundError(f"no weights {path}", "Cellpose-SAM's or SAM's, as they were downloaded")
    found = _tensors(path)
    readout = None
    if "W2" in found and any(name.startswith("encoder.") for name in found):
        readout = _readout(found, path)
        found = renamed({f"image_{name}": value for name, value in found.items() if name.startswith("encoder.")})
    elif is_segment_anything(found):
        found = renamed({name: value for name, value in found.items() if name.startswith("image_encoder.")})
    encoder = {name.partition(".")[2]: v.float() for name, v in found.items() if name.startswith("vision_encoder.")}
    stored = Stored(path, encoder, readout)
    try:
        _ = stored.sizes
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise FormatError(
            f"{path} holds no image encoder of Segment Anything",
            "give Cellpose-SAM's file, or one of SAM (ViT B, L, H)",
        ) from error
    return stored


def _tensors(path: Path) -> Tensors:
    """All that a file or folder holds, by its own names. Raises FormatError."""
    if path.is_dir():
        names = [name for name in FOLDER if (path / name).is_file()]
        if not names:
            raise FormatError(f"no {' or '.join(FOLDER)} in {path}", "give a folder that transformers wrote")
        return _tensors(path / names[0])
    if path.suffix == ".safetensors":
        return _safe(path)
    found = tensors(plain(path, mapped=True), path)
    if "encoder.cls_token" in found:
        raise FormatError(
            f"{path} is Cellpose's network around DINOv3, which isn't built here", "cpsam and cpsam_v2 will do"
        )
    if "diam_mean" in found and "W2" not in found:
        raise FormatError(f"{path} is of Cellpose 3 or before", "Cellpose-SAM's weights are those of Cellpose 4: cpsam")
    return found


def _safe(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is damaged: {error}", "copy it again from where it was made") from error


def _readout(found: Tensors, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the maps, pixel by pixel of a patch. Raises FormatError for other maps than three."""
    if not {"out.weight", "out.bias"} <= found.keys():
        raise FormatError(f"{path} has no out.weight or out.bias, as Cellpose-SAM's files do", "is the file whole?")
    moves, weight, bias = (found[name].float() for name in ("W2", "out.weight", "out.bias"))
    if moves.shape[1] != MAPS:
        raise FormatError(
            f"{path} predicts {moves.shape[1]} maps, not flow y, flow x and probability",
            "Cellpose-SAM's own files have these three",
        )
    mixing = moves.reshape(len(moves), -1).T  # the identity, in all of Cellpose's own
    return torch.einsum("ij,jfyx->ifyx", mixing, weight), mixing @ bias


def fitted(stored: Stored, patch_size: int, image: int) -> Tensors:
    """The encoder for gray images in [0, 1] of ``image`` voxels a side, with another size of patches, as Cellpose-SAM makes it of SAM.

    Of Cellpose-SAM's filters those of the first channel are kept, the one that it gives a gray image; of SAM's, those of three equal
    channels are added up, with SAM's scale of intensities. Raises UsageError.
    """
    filters, bias = (stored.encoder[f"{FILTERS}.{part}"] for part in ("weight", "bias"))
    step, rest = divmod(filters.shape[-1], patch_size)
    if rest or not step:
        raise UsageError(
            f"{stored.path} has patches of {filters.shape[-1]} voxels, of which {patch_size} is no part",
            f"-s model.patch_size={filters.shape[-1]}",
        )
    filters = filters[:, :, ::step, ::step]
    if stored.readout is None:
        mean, scale = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(DEVIATION).view(1, 3, 1, 1)
        bias = bias - (filters * (mean / scale)).sum(dim=(1, 2, 3))
        filters = (filters * (255 / scale)).sum(dim=1, keepdim=True)
    grid = image // patch_size
    found = stored.encoder | {f"{FILTERS}.weight": filters[:, :1], f"{FILTERS}.bias": bias}
    found[POSITIONS] = positions(found[POSITIONS], (grid, grid))
    for name in found:
        if ".rel_pos_" in name:
            found[name] = interpolate(found[name].T[None], size=2 * grid - 1, mode="linear")[0].T
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in found.items()}


def positions(embeddings: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Embeddings of positions (1, y, x, width) on another grid: every n-th where that is one, else interpolated."""
    if embeddings.shape[1:3] == grid:
        return embeddings
    steps = [divmod(have, want) for have, want in zip(embeddings.shape[1:3], grid)]
    if all(step and not rest for step, rest in steps) and steps[0] == steps[1]:
        step = steps[0][0]
        return embeddings[:, ::step, ::step]
    moved = interpolate(embeddings.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return moved.permute(0, 2, 3, 1)
