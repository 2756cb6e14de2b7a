"""micro-SAM's models: Segment Anything as it was fine-tuned for microscopy, with a decoder of distances, in micro-SAM's own code.

Archit et al., Nature Methods 22, 579 (2025); Archit & Pape (2026), section 3.2. The decoder says of each pixel whether an object is
there, and how far it is from the object's center and boundary: instances are made of that by `volumes.decoding`, or by prompts
from it. It knows no kinds of objects. micro-SAM trains these models; here they predict.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator

from copick_tools.data.hashing import file_hash
from copick_tools.data.project import Project
from copick_tools.engines import registry
from copick_tools.engines.family import Settings
from copick_tools.engines.microsam_predictor import MicroSam, Slicewise
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.inference.device import pick_device
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import checkpoint as stored
from copick_tools.training.loop import Progress

FAMILY = "microsam"
PATCH, WINDOW = 16, 14  # pixels of a patch, patches of a window: SAM's, in all sizes
SAM, DECODER = "sam.", "decoder."  # names of weights in our checkpoints
DOCS = "https://computational-cell-analytics.github.io/micro-sam/micro_sam.html#finetuned-models"
SAME_MODULE = ("segment-anything-py", "segment-anything")  # micro-SAM's and Cellpose's: distributions of one module


class Model(Settings):
    """The `model:` mapping of a recipe, less its family: the sizes of the image encoder. ViT-B by default."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "vit-l": {"width": 1024, "depth": 24, "heads": 16, "wide": (5, 11, 17, 23)},
        "vit-h": {"width": 1280, "depth": 32, "heads": 16, "wide": (7, 15, 23, 31)},
        "tiny": {"width": 32, "depth": 2, "heads": 2, "wide": (1,), "image": 256},
    }
    width: int = Field(768, ge=1, description="numbers of a patch")
    depth: int = Field(12, ge=1, description="blocks")
    heads: int = Field(12, ge=1, description="of attention; a divisor of width")
    wide: tuple[int, ...] = Field((2, 5, 8, 11), description="blocks whose attention spans the image, from 0")
    image: int = Field(1024, ge=PATCH, multiple_of=PATCH, description="pixels of the longest side that it sees")

    @model_validator(mode="after")
    def _fits(self) -> Model:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} isn't a multiple of heads {self.heads}")
        return self


def check(recipe: Recipe) -> None:
    """Raise UsageError: nothing is trained here."""
    raise UsageError(
        "models of micro-SAM are trained by micro-SAM, this family only predicts",
        "family sam learns from the same weights: -s model.family=sam; or micro_sam.train, then popsicle models convert",
    )


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Raises UsageError, as `check`."""
    check(recipe)
    return out_dir


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict. Raises MissingExtra, FormatError, PopsicleError for a broken torchvision."""
    card, found = stored.read(checkpoint)
    parts = library()
    where, weights = pick_device(device), found["network"]
    model = registry.settings(Model, card.recipe)
    sam = segment_anything(model, parts)
    try:
        sam.load_state_dict(_of(weights, SAM))
        decoder = parts.generators.get_decoder(sam.image_encoder, _of(weights, DECODER), "cpu")
    except (RuntimeError, KeyError) as error:
        raise FormatError(
            f"{checkpoint}: the weights aren't those of a micro-SAM of these sizes: {' '.join(str(error).split())[:300]}",
            "convert the file again: popsicle models convert",
        ) from error
    prompted = MicroSam(sam.eval().to(where), parts, f"{FAMILY}-{file_hash(checkpoint)}")
    return Slicewise(
        model=prompted,
        decoder=decoder.eval().to(where),
        objects=card.objects,
        voxel_spacing=card.voxel_spacing,
        normalize=card.normalize,
        prompting=card.recipe.prompting,
    )


def library() -> SimpleNamespace:
    """micro-SAM's modules. Raises MissingExtra, and PopsicleError where they can't be imported."""
    row = registry.family(FAMILY)
    registry.require(row)
    with registry.importing(row):
        import segment_anything.modeling
        import segment_anything.predictor
        from micro_sam import instance_segmentation, util
    if rivals := conflict():
        registry.log.warning(rivals)
    return SimpleNamespace(
        util=util,
        generators=instance_segmentation,
        modeling=segment_anything.modeling,
        predictor=segment_anything.predictor.SamPredictor,
    )


def conflict() -> str | None:
    """What is wrong where both distributions of the module ``segment_anything`` are installed; None where they aren't."""
    here = []
    for name in SAME_MODULE:
        try:
            here.append(f"{name} {distribution(name).version}")
        except PackageNotFoundError:
            continue
    if len(here) < len(SAME_MODULE):
        return None
    return (
        f"{' and '.join(here)} are both installed, and both are the module segment_anything: whichever came last is there. "
        "micro-SAM needs the first, Cellpose the second: give each an environment of its own"
    )


def segment_anything(model: Model, parts: SimpleNamespace) -> torch.nn.Module:
    """SAM of these sizes with random weights, as segment_anything builds it (its facts: `build_sam.py`)."""
    features, grid = 256, model.image // PATCH
    encoder = parts.modeling.ImageEncoderViT(
        img_size=model.image,
        patch_size=PATCH,
        embed_dim=model.width,
        depth=model.depth,
        num_heads=model.heads,
        mlp_ratio=4,
        out_chans=features,
        qkv_bias=True,
        norm_layer=_layer_norm,
        use_rel_pos=True,
        window_size=WINDOW,
        global_attn_indexes=model.wide,
    )
    prompts = parts.modeling.PromptEncoder(
        embed_dim=features,
        image_embedding_size=(grid, grid),
        input_image_size=(model.image, model.image),
        mask_in_chans=16,
    )
    transformer = parts.modeling.TwoWayTransformer(depth=2, embedding_dim=features, mlp_dim=2048, num_heads=8)
    decoder = parts.modeling.MaskDecoder(
        transformer_dim=features,
        transformer=transformer,
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=features,
    )
    return parts.modeling.Sam(encoder, prompts, decoder)  # type: ignore[no-any-return]


def _layer_norm(width: int) -> torch.nn.LayerNorm:
    return torch.nn.LayerNorm(width, eps=1e-6)


def _of(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def cached(name: str) -> tuple[Path, Path | None]:
    """The files of a model that micro-SAM has in its cache, and of its decoder. Nothing is downloaded.

    Raises MissingExtra, NotFoundError for a name that micro-SAM doesn't know, PopsicleError for a model that isn't there.
    """
    known = library().util.models()
    folder = Path(known.path)
    if name not in known.registry:
        names = [model for model in known.registry if not model.endswith("_decoder")]
        raise NotFoundError(f"no file {name}, and micro-SAM has no model of that name", nearest(name, names))
    if not (folder / name).is_file():
        raise PopsicleError(
            f"micro-SAM's model {name} isn't in its cache {folder}, and weights are never downloaded here",
            f"fetch it as {DOCS} says, or from bioimage.io, and give the file",
        )
    decoder = folder / f"{name}_decoder"
    return folder / name, decoder if decoder.is_file() else None
