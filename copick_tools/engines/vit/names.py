"""Names of Segment Anything's weights: those of its authors' `segment_anything`, and those of transformers' `SamModel`.

The networks are the same, so a checkpoint of one is a checkpoint of the other by another name. Of both, `*` stands for what
follows, `#` for a number. Facts from both sources: segment_anything 1.0 and transformers 5.23 (`modeling_sam.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from copick_tools.errors import FormatError

Tensor = TypeVar("Tensor")
POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
SHARED = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
ENCODER = (
    ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
    ("image_encoder.patch_embed.proj.*", "vision_encoder.patch_embed.projection.*"),
    *((f"image_encoder.blocks.#.norm{n}.*", f"vision_encoder.layers.#.layer_norm{n}.*") for n in (1, 2)),
    *((f"image_encoder.blocks.#.{part}.*", f"vision_encoder.layers.#.{part}.*") for part in ("attn", "mlp")),
    ("image_encoder.neck.0.*", "vision_encoder.neck.conv1.*"),
    ("image_encoder.neck.1.*", "vision_encoder.neck.layer_norm1.*"),
    ("image_encoder.neck.2.*", "vision_encoder.neck.conv2.*"),
    ("image_encoder.neck.3.*", "vision_encoder.neck.layer_norm2.*"),
)
PROMPTS = (
    ("prompt_encoder.point_embeddings.#.*", "prompt_encoder.point_embed.#.*"),
    ("prompt_encoder.not_a_point_embed.*", "prompt_encoder.not_a_point_embed.*"),
    ("prompt_encoder.no_mask_embed.*", "prompt_encoder.no_mask_embed.*"),
    ("prompt_encoder.mask_downscaling.0.*", "prompt_encoder.mask_embed.conv1.*"),
    ("prompt_encoder.mask_downscaling.1.*", "prompt_encoder.mask_embed.layer_norm1.*"),
    ("prompt_encoder.mask_downscaling.3.*", "prompt_encoder.mask_embed.conv2.*"),
    ("prompt_encoder.mask_downscaling.4.*", "prompt_encoder.mask_embed.layer_norm2.*"),
    ("prompt_encoder.mask_downscaling.6.*", "prompt_encoder.mask_embed.conv3.*"),
)
LAYERS = (("layers.0.*", "proj_in.*"), ("layers.1.*", "layers.0.*"), ("layers.2.*", "proj_out.*"))  # of three
DECODER = (
    *((f"mask_decoder.{part}.*", f"mask_decoder.{part}.*") for part in ("iou_token", "mask_tokens")),
    *(
        (f"mask_decoder.transformer.layers.#.norm{n}.*", f"mask_decoder.transformer.layers.#.layer_norm{n}.*")
        for n in (1, 2, 3, 4)
    ),
    *(
        (f"mask_decoder.transformer.layers.#.{part}.*",) * 2
        for part in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token", "mlp")
    ),
    ("mask_decoder.transformer.final_attn_token_to_image.*",) * 2,
    ("mask_decoder.transformer.norm_final_attn.*", "mask_decoder.transformer.layer_norm_final_attn.*"),
    ("mask_decoder.output_upscaling.0.*", "mask_decoder.upscale_conv1.*"),
    ("mask_decoder.output_upscaling.1.*", "mask_decoder.upscale_layer_norm.*"),
    ("mask_decoder.output_upscaling.3.*", "mask_decoder.upscale_conv2.*"),
    *(
        (f"mask_decoder.{part}.{theirs}", f"mask_decoder.{part}.{ours}")
        for part in ("output_hypernetworks_mlps.#", "iou_prediction_head")
        for theirs, ours in LAYERS
    ),
)
TABLE = (*ENCODER, *PROMPTS, *DECODER)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """segment_anything's weights (whole, or of one part) by the names of transformers' `SamModel`.

    The matrix that encodes positions has two names there. Raises FormatError for a name that is no part of SAM.
    """
    found = dict(_moved(((name, value) for name, value in weights.items() if name != POSITIONS), _forth))
    return found | (dict.fromkeys(SHARED, weights[POSITIONS]) if POSITIONS in weights else {})


def renamed_back(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `renamed`. Raises FormatError for a name that is no part of SamModel."""
    found = dict(_moved(((name, value) for name, value in weights.items() if name not in SHARED), _back))
    shared = [weights[name] for name in SHARED if name in weights]
    return found | ({POSITIONS: shared[0]} if shared else {})


def is_segment_anything(names: Iterable[str]) -> bool:
    """Whether these are names of segment_anything, whole or of one part."""
    return any(name.startswith(("image_encoder.", POSITIONS, "mask_decoder.output_upscaling")) for name in names)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\#", r"(\d+)").replace(r"\*", r"(.+)"))


def _result(template: str) -> str:
    count = iter(range(1, 10))
    return re.sub(r"[#*]", lambda _: f"\\{next(count)}", template)


_forth = [(_pattern(theirs), _result(ours)) for theirs, ours in TABLE]
_back = [(_pattern(ours), _result(theirs)) for theirs, ours in TABLE]


def _moved(
    weights: Iterable[tuple[str, Tensor]], table: list[tuple[re.Pattern[str], str]]
) -> Iterable[tuple[str, Tensor]]:
    for name, value in weights:
        match = next(((found, result) for pattern, result in table if (found := pattern.fullmatch(name))), None)
        if match is None:
            raise FormatError(f"'{name}' is no weight of Segment Anything", "is the file one of SAM 1 (ViT B, L, H)?")
        yield match[0].expand(match[1]), value
